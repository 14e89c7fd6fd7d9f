// A backend that stands in front of another one and shows every operation, with the layer it runs in and the
// tensors it runs on, to whoever derives from it: to time it, or to write it down.
#pragma once

#include <functional>
#include <string>

#include "engine/autograd/observer.h"
#include "kernels/backend.h"

namespace imago {

/// One call of an operation: what it is and on what. Tensors are named as in kernels/backend.h.
struct Operation {
  const char* name = "";  // "conv2d"
  std::string layer;      // "down_blocks.0.resnets.1.conv1"; empty outside of any
  Concat x;  // the tensor that the rest is about: x, q; dx of conv2d_dgrad; dy where there is no other
  ConstTensorRef y;  // the other end: y; dy of a gradient
  ConstTensorRef w;  // convolution: w, dw
  Conv2dGeometry geometry;
  Conv2dEpilogue epilogue;
  Concat so_far;  // conv2d_dgrad, group_norm_backward
  GroupNormConfig norm;
  bool scale_shift = false, dbias = false;  // whether there are these optional operands
  int heads = 0;                            // attention

  std::string shapes() const;  // "[16,32,32,64]+64 w [64,3,3,128] /2": two sources, a filter, a stride
};

inline std::string Operation::shapes() const {
  return x.a.shape.to_string() + (x.b ? "+" + std::to_string(x.b.shape[-1]) : "") +
         (w ? " w " + w.shape.to_string() : "") +
         (geometry.stride > 1 ? " /" + std::to_string(geometry.stride) : "") +
         (heads ? " heads " + std::to_string(heads) : "");
}

/// Of the sources that are there.
inline double bytes_of(const Concat& x) {
  return static_cast<double>((x.a ? x.a.bytes() : 0) + (x.b ? x.b.bytes() : 0));
}

class WatchedBackend : public Backend {
 public:
  explicit WatchedBackend(Backend& inner) : inner_(inner) {}

  const char* name() const override { return inner_.name(); }
  bool supports(DType activations) const override { return inner_.supports(activations); }
  void* allocate(size_t bytes) override { return inner_.allocate(bytes); }
  void deallocate(void* p, size_t bytes) override { inner_.deallocate(p, bytes); }
  void upload(void* device, const void* host, size_t bytes) override { inner_.upload(device, host, bytes); }
  void download(void* host, const void* device, size_t bytes) override {
    inner_.download(host, device, bytes);
  }
  void synchronize() override { inner_.synchronize(); }
  DeviceMemory memory() const override { return inner_.memory(); }

  void fill(TensorRef y, double value) override {
    simple("fill", y, [&](Backend& b) { b.fill(y, value); });
  }
  void copy(ConstTensorRef x, TensorRef y) override {
    simple("copy", x, [&](Backend& b) { b.copy(x, y); });
  }
  void add(ConstTensorRef a, float alpha, ConstTensorRef b, float beta, TensorRef y) override {
    simple("add", y, [&](Backend& to) { to.add(a, alpha, b, beta, y); });
  }
  void silu(ConstTensorRef x, TensorRef y) override {
    simple("silu", x, [&](Backend& b) { b.silu(x, y); });
  }
  void silu_backward(ConstTensorRef dy, ConstTensorRef x, TensorRef dx) override {
    simple("silu_backward", x, [&](Backend& b) { b.silu_backward(dy, x, dx); });
  }
  void relu(ConstTensorRef x, TensorRef y) override {
    simple("relu", x, [&](Backend& b) { b.relu(x, y); });
  }
  void relu_backward(ConstTensorRef dy, ConstTensorRef x, TensorRef dx) override {
    simple("relu_backward", x, [&](Backend& b) { b.relu_backward(dy, x, dx); });
  }
  void dropout(ConstTensorRef x, float p, const RandomKey& key, TensorRef y) override {
    simple("dropout", x, [&](Backend& b) { b.dropout(x, p, key, y); });
  }

  void conv2d(const Concat& x, ConstTensorRef w, const Conv2dGeometry& g, const Conv2dEpilogue& e,
              TensorRef y, Workspace& ws) override {
    Operation o = named("conv2d");
    o.x = x, o.y = y, o.w = w, o.geometry = g, o.epilogue = e;
    watch(o, [&](Backend& b) { b.conv2d(x, w, g, e, y, ws); });
  }
  void conv2d_dgrad(ConstTensorRef dy, ConstTensorRef w, const Conv2dGeometry& g, float scale,
                    const Concat& so_far, const ConcatOut& dx, Workspace& ws) override {
    Operation o = named("conv2d_dgrad");
    o.x = {dx.a, dx.b}, o.y = dy, o.w = w, o.geometry = g, o.so_far = so_far;
    watch(o, [&](Backend& b) { b.conv2d_dgrad(dy, w, g, scale, so_far, dx, ws); });
  }
  void conv2d_wgrad(const Concat& x, ConstTensorRef dy, const Conv2dGeometry& g, float scale, TensorRef dw,
                    TensorRef dbias, Workspace& ws) override {
    Operation o = named("conv2d_wgrad");
    o.x = x, o.y = dy, o.w = dw, o.geometry = g, o.dbias = static_cast<bool>(dbias);
    watch(o, [&](Backend& b) { b.conv2d_wgrad(x, dy, g, scale, dw, dbias, ws); });
  }
  void per_image_bias_grad(ConstTensorRef dy, float scale, TensorRef dper_image, Workspace& ws) override {
    simple("per_image_bias_grad", dy, [&](Backend& b) { b.per_image_bias_grad(dy, scale, dper_image, ws); });
  }

  void group_norm(const Concat& x, ConstTensorRef gamma, ConstTensorRef beta, ConstTensorRef scale_shift,
                  const GroupNormConfig& config, TensorRef y, TensorRef statistics, Workspace& ws) override {
    Operation o = named("group_norm");
    o.x = x, o.y = y, o.norm = config, o.scale_shift = static_cast<bool>(scale_shift);
    watch(o, [&](Backend& b) { b.group_norm(x, gamma, beta, scale_shift, config, y, statistics, ws); });
  }
  void group_norm_backward(ConstTensorRef dy, const Concat& x, ConstTensorRef gamma, ConstTensorRef beta,
                           ConstTensorRef scale_shift, ConstTensorRef statistics,
                           const GroupNormConfig& config, const Concat& so_far, const ConcatOut& dx,
                           TensorRef dgamma, TensorRef dbeta, TensorRef dscale_shift,
                           Workspace& ws) override {
    Operation o = named("group_norm_backward");
    o.x = x, o.y = dy, o.norm = config, o.scale_shift = static_cast<bool>(scale_shift), o.so_far = so_far;
    watch(o, [&](Backend& b) {
      b.group_norm_backward(dy, x, gamma, beta, scale_shift, statistics, config, so_far, dx, dgamma, dbeta,
                            dscale_shift, ws);
    });
  }

  void attention(ConstTensorRef q, ConstTensorRef k, ConstTensorRef v, int heads, float scale, TensorRef y,
                 TensorRef lse, Workspace& ws) override {
    Operation o = named("attention");
    o.x.a = q, o.y = y, o.heads = heads;
    watch(o, [&](Backend& b) { b.attention(q, k, v, heads, scale, y, lse, ws); });
  }
  void attention_backward(ConstTensorRef dy, ConstTensorRef q, ConstTensorRef k, ConstTensorRef v,
                          ConstTensorRef y, ConstTensorRef lse, int heads, float scale, TensorRef dq,
                          TensorRef dk, TensorRef dv, Workspace& ws) override {
    Operation o = named("attention_backward");
    o.x.a = q, o.y = dy, o.heads = heads;
    watch(o, [&](Backend& b) { b.attention_backward(dy, q, k, v, y, lse, heads, scale, dq, dk, dv, ws); });
  }

  void upsample2x(ConstTensorRef x, float scale, TensorRef y) override {
    simple("upsample2x", x, [&](Backend& b) { b.upsample2x(x, scale, y); });
  }
  void sum_pool2x(ConstTensorRef x, float scale, TensorRef y) override {
    simple("sum_pool2x", x, [&](Backend& b) { b.sum_pool2x(x, scale, y); });
  }
  void avg_pool(ConstTensorRef x, const PoolWindow& window, TensorRef y) override {
    simple("avg_pool", y, [&](Backend& b) { b.avg_pool(x, window, y); });
  }
  void avg_pool_backward(ConstTensorRef dy, const PoolWindow& window, TensorRef dx) override {
    simple("avg_pool_backward", dx, [&](Backend& b) { b.avg_pool_backward(dy, window, dx); });
  }
  void max_pool(ConstTensorRef x, const PoolWindow& window, TensorRef y) override {
    simple("max_pool", y, [&](Backend& b) { b.max_pool(x, window, y); });
  }
  void sinusoid(ConstTensorRef t, ConstTensorRef frequencies, bool cos_first, TensorRef y) override {
    simple("sinusoid", y, [&](Backend& b) { b.sinusoid(t, frequencies, cos_first, y); });
  }
  void embedding(ConstTensorRef table, ConstTensorRef index, TensorRef y) override {
    simple("embedding", y, [&](Backend& b) { b.embedding(table, index, y); });
  }
  void embedding_backward(ConstTensorRef dy, ConstTensorRef index, TensorRef dtable) override {
    simple("embedding_backward", dy, [&](Backend& b) { b.embedding_backward(dy, index, dtable); });
  }

  void cross_entropy(ConstTensorRef x, ConstTensorRef label, TensorRef loss) override {
    simple("cross_entropy", x, [&](Backend& b) { b.cross_entropy(x, label, loss); });
  }
  void cross_entropy_backward(ConstTensorRef dloss, ConstTensorRef x, ConstTensorRef label,
                              TensorRef dx) override {
    simple("cross_entropy_backward", x, [&](Backend& b) { b.cross_entropy_backward(dloss, x, label, dx); });
  }

  void normal(const RandomKey& key, TensorRef y) override {
    simple("normal", y, [&](Backend& b) { b.normal(key, y); });
  }
  void q_sample(ConstTensorRef x0, ConstTensorRef coefficients, const RandomKey& key, TensorRef xt,
                TensorRef target) override {
    simple("q_sample", x0, [&](Backend& b) { b.q_sample(x0, coefficients, key, xt, target); });
  }
  void mse_loss(ConstTensorRef prediction, ConstTensorRef target, ConstTensorRef weight,
                TensorRef loss) override {
    simple("mse_loss", prediction, [&](Backend& b) { b.mse_loss(prediction, target, weight, loss); });
  }
  void mse_loss_backward(ConstTensorRef dloss, ConstTensorRef prediction, ConstTensorRef target,
                         ConstTensorRef weight, TensorRef dprediction) override {
    simple("mse_loss_backward", prediction,
           [&](Backend& b) { b.mse_loss_backward(dloss, prediction, target, weight, dprediction); });
  }
  void hybrid_loss(const HybridLossInputs& inputs, TensorRef loss) override {
    simple("hybrid_loss", inputs.target, [&](Backend& b) { b.hybrid_loss(inputs, loss); });
  }
  void hybrid_loss_backward(ConstTensorRef dloss, const HybridLossInputs& inputs,
                            TensorRef dprediction) override {
    simple("hybrid_loss_backward", inputs.target,
           [&](Backend& b) { b.hybrid_loss_backward(dloss, inputs, dprediction); });
  }
  void sampler_step(const SamplerTensors& t, const SamplerStep& step, const RandomKey& key) override {
    simple("sampler_step", t.x, [&](Backend& b) { b.sampler_step(t, step, key); });
  }

  void norm(ConstTensorRef x, TensorRef y, Workspace& ws) override {
    simple("norm", x, [&](Backend& b) { b.norm(x, y, ws); });
  }
  void adamw(ConstTensorRef g, ConstTensorRef grad_norm, ConstTensorRef step, TensorRef p, TensorRef m,
             TensorRef v, TensorRef ema, TensorRef p_bf16) override {
    simple("adamw", p, [&](Backend& b) { b.adamw(g, grad_norm, step, p, m, v, ema, p_bf16); });
  }

 protected:
  using Call = std::function<void(Backend&)>;
  /// Has to run `call` on the inner backend.
  virtual void watch(const Operation& operation, const Call& call) = 0;
  Backend& inner() { return inner_; }

 private:
  static Operation named(const char* name) {
    Operation o;
    o.name = name, o.layer = current_layer();
    return o;
  }
  void simple(const char* name, ConstTensorRef x, const Call& call) {
    Operation o = named(name);
    o.x.a = x;
    watch(o, call);
  }

  Backend& inner_;
};

}  // namespace imago
