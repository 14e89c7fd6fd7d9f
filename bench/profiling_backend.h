// A backend that stands in front of another one and notes how long every operation takes, what it is and on
// which shapes; the plan backend says how much work it was.
#pragma once

#include <time.h>

#include <chrono>
#include <map>
#include <string>

#include "kernels/backend.h"
#include "kernels/plan/plan_backend.h"

namespace imago {

/// CPU time of this process, all threads together. On a machine that others use too it says more than the clock
/// on the wall, as long as idle threads sleep (OMP_WAIT_POLICY=PASSIVE).
inline double cpu_seconds() {
  timespec t{};
  clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &t);
  return static_cast<double>(t.tv_sec) + 1e-9 * static_cast<double>(t.tv_nsec);
}

/// Every operation is followed by a synchronize(), so on a device that runs behind the host times are true but
/// overlap is lost.
class ProfilingBackend final : public Backend {
 public:
  struct Entry {
    double seconds = 0, cpu_seconds = 0;
    int64_t calls = 0, flops = 0, bytes = 0;
  };
  using Key = std::pair<std::string, std::string>;  // operation ("conv2d"), shapes ("[16,32,32,64] ...")

  explicit ProfilingBackend(Backend& inner) : inner_(inner) {}
  const std::map<Key, Entry>& entries() const { return entries_; }
  void reset() { entries_.clear(); }

  const char* name() const override { return inner_.name(); }
  bool supports(DType activations) const override { return inner_.supports(activations); }
  void* allocate(size_t bytes) override { return inner_.allocate(bytes); }
  void deallocate(void* p, size_t bytes) override { inner_.deallocate(p, bytes); }
  void upload(void* device, const void* host, size_t bytes) override { inner_.upload(device, host, bytes); }
  void download(void* host, const void* device, size_t bytes) override {
    inner_.download(host, device, bytes);
  }
  void synchronize() override { inner_.synchronize(); }

  void fill(TensorRef y, double value) override {
    timed("fill", shapes(y), [&](Backend& b) { b.fill(y, value); });
  }
  void copy(ConstTensorRef x, TensorRef y) override {
    timed("copy", shapes(x), [&](Backend& b) { b.copy(x, y); });
  }
  void add(ConstTensorRef a, float alpha, ConstTensorRef b, float beta, TensorRef y) override {
    timed("add", shapes(y), [&](Backend& to) { to.add(a, alpha, b, beta, y); });
  }
  void silu(ConstTensorRef x, TensorRef y) override {
    timed("silu", shapes(x), [&](Backend& b) { b.silu(x, y); });
  }
  void silu_backward(ConstTensorRef dy, ConstTensorRef x, TensorRef dx) override {
    timed("silu_backward", shapes(x), [&](Backend& b) { b.silu_backward(dy, x, dx); });
  }
  void dropout(ConstTensorRef x, float p, const RandomKey& key, TensorRef y) override {
    timed("dropout", shapes(x), [&](Backend& b) { b.dropout(x, p, key, y); });
  }

  void conv2d(const Concat& x, ConstTensorRef w, const Conv2dGeometry& g, const Conv2dEpilogue& e,
              TensorRef y, Workspace& ws) override {
    timed("conv2d", conv_shapes(x, w, g), [&](Backend& b) { b.conv2d(x, w, g, e, y, ws); });
  }
  void conv2d_dgrad(ConstTensorRef dy, ConstTensorRef w, const Conv2dGeometry& g, float scale,
                    const ConcatOut& dx, Workspace& ws) override {
    timed("conv2d_dgrad", conv_shapes(dx, w, g),
          [&](Backend& b) { b.conv2d_dgrad(dy, w, g, scale, dx, ws); });
  }
  void conv2d_wgrad(const Concat& x, ConstTensorRef dy, const Conv2dGeometry& g, float scale, TensorRef dw,
                    Workspace& ws) override {
    timed("conv2d_wgrad", conv_shapes(x, dw, g),
          [&](Backend& b) { b.conv2d_wgrad(x, dy, g, scale, dw, ws); });
  }
  void bias_grad(ConstTensorRef dy, float scale, TensorRef dbias, TensorRef dper_image,
                 Workspace& ws) override {
    timed("bias_grad", shapes(dy), [&](Backend& b) { b.bias_grad(dy, scale, dbias, dper_image, ws); });
  }

  void group_norm(const Concat& x, ConstTensorRef gamma, ConstTensorRef beta, ConstTensorRef scale_shift,
                  const GroupNormConfig& config, TensorRef y, TensorRef statistics, Workspace& ws) override {
    timed("group_norm", source_shapes(x),
          [&](Backend& b) { b.group_norm(x, gamma, beta, scale_shift, config, y, statistics, ws); });
  }
  void group_norm_backward(ConstTensorRef dy, const Concat& x, ConstTensorRef gamma, ConstTensorRef beta,
                           ConstTensorRef scale_shift, ConstTensorRef statistics,
                           const GroupNormConfig& config, const ConcatOut& dx, TensorRef dgamma,
                           TensorRef dbeta, TensorRef dscale_shift, Workspace& ws) override {
    timed("group_norm_backward", source_shapes(x), [&](Backend& b) {
      b.group_norm_backward(dy, x, gamma, beta, scale_shift, statistics, config, dx, dgamma, dbeta,
                            dscale_shift, ws);
    });
  }

  void attention(ConstTensorRef q, ConstTensorRef k, ConstTensorRef v, int heads, float scale, TensorRef y,
                 TensorRef lse, Workspace& ws) override {
    timed("attention", shapes(q) + " heads " + std::to_string(heads),
          [&](Backend& b) { b.attention(q, k, v, heads, scale, y, lse, ws); });
  }
  void attention_backward(ConstTensorRef dy, ConstTensorRef q, ConstTensorRef k, ConstTensorRef v,
                          ConstTensorRef y, ConstTensorRef lse, int heads, float scale, TensorRef dq,
                          TensorRef dk, TensorRef dv, Workspace& ws) override {
    timed("attention_backward", shapes(q) + " heads " + std::to_string(heads),
          [&](Backend& b) { b.attention_backward(dy, q, k, v, y, lse, heads, scale, dq, dk, dv, ws); });
  }

  void upsample2x(ConstTensorRef x, float scale, TensorRef y) override {
    timed("upsample2x", shapes(x), [&](Backend& b) { b.upsample2x(x, scale, y); });
  }
  void sum_pool2x(ConstTensorRef x, float scale, TensorRef y) override {
    timed("sum_pool2x", shapes(x), [&](Backend& b) { b.sum_pool2x(x, scale, y); });
  }
  void sinusoid(ConstTensorRef t, ConstTensorRef frequencies, bool cos_first, TensorRef y) override {
    timed("sinusoid", shapes(y), [&](Backend& b) { b.sinusoid(t, frequencies, cos_first, y); });
  }
  void embedding(ConstTensorRef table, ConstTensorRef index, TensorRef y) override {
    timed("embedding", shapes(y), [&](Backend& b) { b.embedding(table, index, y); });
  }
  void embedding_backward(ConstTensorRef dy, ConstTensorRef index, TensorRef dtable) override {
    timed("embedding_backward", shapes(dy), [&](Backend& b) { b.embedding_backward(dy, index, dtable); });
  }

  void normal(const RandomKey& key, TensorRef y) override {
    timed("normal", shapes(y), [&](Backend& b) { b.normal(key, y); });
  }
  void q_sample(ConstTensorRef x0, ConstTensorRef coefficients, const RandomKey& key, TensorRef xt,
                TensorRef target) override {
    timed("q_sample", shapes(x0), [&](Backend& b) { b.q_sample(x0, coefficients, key, xt, target); });
  }
  void mse_loss(ConstTensorRef prediction, ConstTensorRef target, ConstTensorRef weight,
                TensorRef loss) override {
    timed("mse_loss", shapes(prediction), [&](Backend& b) { b.mse_loss(prediction, target, weight, loss); });
  }
  void mse_loss_backward(ConstTensorRef dloss, ConstTensorRef prediction, ConstTensorRef target,
                         ConstTensorRef weight, TensorRef dprediction) override {
    timed("mse_loss_backward", shapes(prediction),
          [&](Backend& b) { b.mse_loss_backward(dloss, prediction, target, weight, dprediction); });
  }
  void sampler_step(ConstTensorRef x, ConstTensorRef m, const SamplerStep& step, const RandomKey& key,
                    TensorRef y) override {
    timed("sampler_step", shapes(x), [&](Backend& b) { b.sampler_step(x, m, step, key, y); });
  }

  void norm(ConstTensorRef x, TensorRef y, Workspace& ws) override {
    timed("norm", shapes(x), [&](Backend& b) { b.norm(x, y, ws); });
  }
  void adamw(ConstTensorRef g, ConstTensorRef grad_norm, ConstTensorRef step, TensorRef p, TensorRef m,
             TensorRef v, TensorRef ema, TensorRef p_bf16) override {
    timed("adamw", shapes(p), [&](Backend& b) { b.adamw(g, grad_norm, step, p, m, v, ema, p_bf16); });
  }

 private:
  static std::string shapes(ConstTensorRef x) { return x.shape.to_string(); }
  template <class Ref>
  static std::string source_shapes(const BasicConcat<Ref>& x) {
    return shapes(x.a) + (x.b ? "+" + std::to_string(x.b.shape[-1]) : "");
  }
  // "[16,32,32,64]+64 w [64,3,3,128]", with the stride where it is not 1.
  template <class Ref>
  static std::string conv_shapes(const BasicConcat<Ref>& x, ConstTensorRef w, const Conv2dGeometry& g) {
    return source_shapes(x) + " w " + shapes(w) + (g.stride > 1 ? " /" + std::to_string(g.stride) : "");
  }

  // Runs the operation on the inner backend, then on the plan, which looks at shapes alone.
  template <class Call>
  void timed(const char* operation, std::string shapes, Call call) {
    using Clock = std::chrono::steady_clock;
    inner_.synchronize();
    const auto start = Clock::now();
    const double cpu_start = cpu_seconds();
    call(inner_);
    inner_.synchronize();
    const std::chrono::duration<double> seconds = Clock::now() - start;
    const double cpu = cpu_seconds() - cpu_start;
    reset_plan_counts();
    call(plan_backend());
    Entry& entry = entries_[{operation, std::move(shapes)}];
    entry.seconds += seconds.count();
    entry.cpu_seconds += cpu;
    entry.calls += 1;
    entry.flops += plan_counts().total.flops;
    entry.bytes += plan_counts().total.bytes;
  }

  Backend& inner_;
  std::map<Key, Entry> entries_;
};

}  // namespace imago
