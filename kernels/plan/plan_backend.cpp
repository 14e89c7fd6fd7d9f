#include "kernels/plan/plan_backend.h"

#include <cstring>

namespace imago {

namespace {

PlanCounts counts;

/// One call. The operands' bytes are those that are there: an absent tensor has none.
template <class... Bytes>
void count(const char* operation, int64_t flops, Bytes... bytes) {
  for (PlanCount* c : {&counts.total, &counts.by_operation[operation]}) {
    c->flops += flops;
    c->bytes += (static_cast<int64_t>(bytes) + ... + 0);
    c->launches += 1;
  }
}

size_t once(ConstTensorRef t) {
  return t ? t.bytes() : 0;
}
size_t twice(ConstTensorRef t) {  // read and written
  return 2 * once(t);
}
template <class Ref>
size_t once(const BasicConcat<Ref>& t) {
  return once(t.a) + once(t.b);
}
size_t once(const HybridLossInputs& in) {
  return once(in.prediction) + once(in.target) + once(in.x0) + once(in.weight) + once(in.bound);
}
int64_t elements(const Concat& t) {  // of the sources that are there
  return (t.a ? t.a.numel() : 0) + (t.b ? t.b.numel() : 0);
}
size_t once(const Conv2dEpilogue& e) {
  return once(e.bias) + once(e.per_image_bias) + once(e.residual);
}

// FLOPs an element, with what is said in the header about functions.
constexpr int64_t kSilu = 4;          // x / (1 + exp(-x))
constexpr int64_t kSiluBackward = 9;  // dy s (1 + x (1 - s))
constexpr int64_t kSoftmax = 4;       // the largest; difference, exp, sum
constexpr int64_t kBound = 12;        // its variance; difference, two exps, square, sum
constexpr int64_t kNormal = 20;       // a quarter of Philox, half of Box-Muller
constexpr int64_t kGroupNorm = 7;     // sum; difference, square, sum; scale by rstd; gamma, beta
constexpr int64_t kGroupNormBackward = 16;

int64_t conv2d_flops(int64_t out_pixels, ConstTensorRef w) {  // w [K,R,S,C]: K R S C products a pixel
  return 2 * out_pixels * w.numel();
}
int64_t pixels_of(ConstTensorRef t) {  // of [N,H,W,C], or of all but the last dimension
  return t.numel() / t.shape[-1];
}
int64_t pixels_of(const PoolWindow& window) {
  return int64_t{window.rows} * window.columns;
}
int64_t attention_product(ConstTensorRef q) {  // [N,T,heads*D]: one product of [T,D] by [D,T] a head
  return 2 * q.numel() * q.shape[1];
}

class PlanBackend : public Backend {
 public:
  const char* name() const override { return "plan"; }
  bool supports(DType t) const override {
    return t == DType::kFloat32 || t == DType::kBFloat16 || t == DType::kFloat64;
  }

  // Addresses count upward and are never used again, from where no real memory lies.
  void* allocate(size_t bytes) override {
    constexpr size_t kAlignment = 256;
    if (bytes > SIZE_MAX / 4) return nullptr;
    void* p = reinterpret_cast<void*>(next_address_);
    next_address_ += (bytes / kAlignment + 1) * kAlignment;
    return p;
  }
  void deallocate(void*, size_t) override {}
  void upload(void*, const void*, size_t) override {}
  void download(void* host, const void*, size_t bytes) override { std::memset(host, 0, bytes); }
  void synchronize() override {}

  void fill(TensorRef y, double) override { count("fill", 0, once(y)); }
  void copy(ConstTensorRef x, TensorRef y) override { count("copy", 0, once(x), once(y)); }
  void add(ConstTensorRef a, float, ConstTensorRef b, float, TensorRef y) override {
    count("add", 3 * y.numel(), once(a), once(b), once(y));
  }
  void silu(ConstTensorRef x, TensorRef y) override { count("silu", kSilu * x.numel(), once(x), once(y)); }
  void silu_backward(ConstTensorRef dy, ConstTensorRef x, TensorRef dx) override {
    count("silu_backward", kSiluBackward * x.numel(), once(dy), once(x), once(dx));
  }
  void relu(ConstTensorRef x, TensorRef y) override { count("relu", x.numel(), once(x), once(y)); }
  void relu_backward(ConstTensorRef dy, ConstTensorRef x, TensorRef dx) override {
    count("relu_backward", x.numel(), once(dy), once(x), once(dx));
  }
  void dropout(ConstTensorRef x, float, const RandomKey&, TensorRef y) override {
    count("dropout", 2 * x.numel(), once(x), once(y));
  }

  void conv2d(const Concat& x, ConstTensorRef w, const Conv2dGeometry&, const Conv2dEpilogue& e, TensorRef y,
              Workspace&) override {
    const int64_t added =
        (e.bias ? 1 : 0) + (e.per_image_bias ? 1 : 0) + (e.residual ? 1 : 0) + (e.scale != 1);
    count("conv2d", conv2d_flops(pixels_of(y), w) + added * y.numel(), once(x), once(w), once(e), once(y));
  }
  void conv2d_dgrad(ConstTensorRef dy, ConstTensorRef w, const Conv2dGeometry&, float, const Concat& so_far,
                    const ConcatOut& dx, Workspace&) override {
    count("conv2d_dgrad", conv2d_flops(pixels_of(dy), w) + elements(so_far), once(dy), once(w), once(so_far),
          once(dx));
  }
  void conv2d_wgrad(const Concat& x, ConstTensorRef dy, const Conv2dGeometry&, float, TensorRef dw,
                    TensorRef dbias, Workspace&) override {
    const int64_t sums = dbias ? dy.numel() : 0;
    count("conv2d_wgrad", conv2d_flops(pixels_of(dy), dw) + sums, once(x), once(dy), twice(dw), twice(dbias));
  }
  void per_image_bias_grad(ConstTensorRef dy, float, TensorRef dper_image, Workspace&) override {
    count("per_image_bias_grad", dy.numel(), once(dy), once(dper_image));
  }

  void group_norm(const Concat& x, ConstTensorRef gamma, ConstTensorRef beta, ConstTensorRef scale_shift,
                  const GroupNormConfig& config, TensorRef y, TensorRef statistics, Workspace&) override {
    const int64_t each = kGroupNorm + (scale_shift ? 2 : 0) + (silu_of(config) ? kSilu : 0);
    count("group_norm", each * y.numel(), once(x), once(gamma), once(beta), once(scale_shift), once(y),
          once(statistics));
  }
  void group_norm_backward(ConstTensorRef dy, const Concat& x, ConstTensorRef gamma, ConstTensorRef beta,
                           ConstTensorRef scale_shift, ConstTensorRef statistics,
                           const GroupNormConfig& config, const Concat& so_far, const ConcatOut& dx,
                           TensorRef dgamma, TensorRef dbeta, TensorRef dscale_shift, Workspace&) override {
    const int64_t each = kGroupNormBackward + (scale_shift ? 4 : 0) + (silu_of(config) ? kSiluBackward : 0);
    count("group_norm_backward", each * dy.numel() + elements(so_far), once(dy), once(x), once(gamma),
          once(beta), once(scale_shift), once(statistics), once(so_far), once(dx), twice(dgamma),
          twice(dbeta), once(dscale_shift));
  }

  void attention(ConstTensorRef q, ConstTensorRef k, ConstTensorRef v, int, float, TensorRef y, TensorRef lse,
                 Workspace&) override {
    count("attention", 2 * attention_product(q), once(q), once(k), once(v), once(y), once(lse));
  }
  void attention_backward(ConstTensorRef dy, ConstTensorRef q, ConstTensorRef k, ConstTensorRef v,
                          ConstTensorRef y, ConstTensorRef lse, int, float, TensorRef dq, TensorRef dk,
                          TensorRef dv, Workspace&) override {
    count("attention_backward", 5 * attention_product(q), once(dy), once(q), once(k), once(v), once(y),
          once(lse), once(dq), once(dk), once(dv));
  }

  void upsample2x(ConstTensorRef x, float, TensorRef y) override {
    count("upsample2x", y.numel(), once(x), once(y));
  }
  void sum_pool2x(ConstTensorRef x, float, TensorRef y) override {
    count("sum_pool2x", 4 * y.numel(), once(x), once(y));
  }
  void avg_pool(ConstTensorRef x, const PoolWindow& window, TensorRef y) override {
    count("avg_pool", pixels_of(window) * y.numel(), once(x), once(y));
  }
  void avg_pool_backward(ConstTensorRef dy, const PoolWindow& window, TensorRef dx) override {
    count("avg_pool_backward", pixels_of(window) * dy.numel(), once(dy), once(dx));
  }
  void max_pool(ConstTensorRef x, const PoolWindow& window, TensorRef y) override {
    count("max_pool", pixels_of(window) * y.numel(), once(x), once(y));
  }

  void sinusoid(ConstTensorRef t, ConstTensorRef frequencies, bool, TensorRef y) override {
    count("sinusoid", 2 * y.numel(), once(t), once(frequencies), once(y));
  }
  // Of a table, the rows that are looked up.
  void embedding(ConstTensorRef, ConstTensorRef index, TensorRef y) override {
    count("embedding", 0, once(index), twice(y));
  }
  void embedding_backward(ConstTensorRef dy, ConstTensorRef index, TensorRef dtable) override {
    const int64_t rows = dy.numel() * static_cast<int64_t>(size_of(dtable.dtype));
    count("embedding_backward", dy.numel(), once(dy), once(index), 2 * rows);
  }

  void cross_entropy(ConstTensorRef x, ConstTensorRef label, TensorRef loss) override {
    count("cross_entropy", kSoftmax * x.numel(), once(x), once(label), once(loss));
  }
  void cross_entropy_backward(ConstTensorRef dloss, ConstTensorRef x, ConstTensorRef label,
                              TensorRef dx) override {
    count("cross_entropy_backward", 2 * kSoftmax * x.numel(), once(dloss), once(x), once(label), once(dx));
  }

  void normal(const RandomKey&, TensorRef y) override { count("normal", kNormal * y.numel(), once(y)); }
  void q_sample(ConstTensorRef x0, ConstTensorRef coefficients, const RandomKey&, TensorRef xt,
                TensorRef target) override {
    count("q_sample", (kNormal + 6) * xt.numel(), once(x0), once(coefficients), once(xt), once(target));
  }
  void mse_loss(ConstTensorRef prediction, ConstTensorRef target, ConstTensorRef weight,
                TensorRef loss) override {
    count("mse_loss", 3 * prediction.numel(), once(prediction), once(target), once(weight), once(loss));
  }
  void mse_loss_backward(ConstTensorRef dloss, ConstTensorRef prediction, ConstTensorRef target,
                         ConstTensorRef weight, TensorRef dprediction) override {
    count("mse_loss_backward", 2 * prediction.numel(), once(dloss), once(prediction), once(target),
          once(weight), once(dprediction));
  }
  void hybrid_loss(const HybridLossInputs& in, TensorRef loss) override {
    count("hybrid_loss", (3 + kBound) * in.target.numel(), once(in), once(loss));
  }
  void hybrid_loss_backward(ConstTensorRef dloss, const HybridLossInputs& in,
                            TensorRef dprediction) override {
    count("hybrid_loss_backward", (2 + kBound) * in.target.numel(), once(dloss), once(in), once(dprediction));
  }
  void sampler_step(const SamplerTensors& t, const SamplerStep& step, const RandomKey&) override {
    const bool noisy = step.noise != StepNoise::kFixed || step.sigma != 0;
    int64_t each = 8 + (step.clip > 0 ? 2 : 0) + (noisy ? kNormal + 2 : 0);
    for (const ConstTensorRef& h : t.history) each += h ? 2 : 0;
    if (t.m.shape[0] != t.x.shape[0]) each += 3;
    if (t.limit) each += 3;
    if (t.known) each += 6;
    if (t.entry) each += 5;
    if (t.input) each += 1;
    count("sampler_step", each * t.y.numel(), once(t.x), once(t.m), once(t.history[0]), once(t.history[1]),
          once(t.history[2]), once(t.limit), once(t.known), once(t.mask), once(t.y), once(t.entry),
          once(t.input));
  }

  void norm(ConstTensorRef x, TensorRef y, Workspace&) override {
    count("norm", 2 * x.numel(), once(x), once(y));
  }
  void adamw(ConstTensorRef g, ConstTensorRef grad_norm, ConstTensorRef step, TensorRef p, TensorRef m,
             TensorRef v, TensorRef ema, TensorRef p_bf16) override {
    count("adamw", (16 + (ema ? 3 : 0)) * p.numel(), once(g), once(grad_norm), once(step), twice(p), twice(m),
          twice(v), twice(ema), once(p_bf16));
  }

 private:
  static bool silu_of(const GroupNormConfig& config) { return config.activation == Activation::kSilu; }

  uintptr_t next_address_ = uintptr_t{1} << 46;
};

}  // namespace

const PlanCounts& plan_counts() {
  return counts;
}

void reset_plan_counts() {
  counts = {};
}

Backend& plan_backend() {
  static PlanBackend backend;
  return backend;
}

}  // namespace imago
