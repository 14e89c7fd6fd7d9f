// The CPU backend: our own kernels or oneDNN for convolutions, oneDNN for matrix products, our own loops
// for the rest.
//
// One folder a family: convolution (choice.h says who computes it), attention, norm, pointwise, diffusion,
// optimizer; memory is in cpu_backend.cpp. simd.h, simd_math.h and parallel.h are the vocabulary they share.
// Read kernels/backend.h first: it says what each of these operations means.
#pragma once

#include "kernels/backend.h"
#include "kernels/cpu/convolution/choice.h"

namespace imago {

class CpuBackend final : public Backend {
 public:
  /// `only`: convolutions in this way wherever it is possible (tests and benchmarks); `choices`: what stands
  /// before the rule (convolution/choice.h).
  explicit CpuBackend(std::optional<cpu::ConvWay> only = {}, cpu::ConvChoices choices = {})
      : only_(only), choices_(std::move(choices)) {}

  const char* name() const override;  // "cpu"; with `only` "cpu_direct" and the like
  bool supports(DType activations) const override;

  void* allocate(size_t bytes) override;
  void deallocate(void* p, size_t bytes) override;
  void upload(void* device, const void* host, size_t bytes) override;
  void download(void* host, const void* device, size_t bytes) override;
  void synchronize() override {}

  void fill(TensorRef y, double value) override;
  void copy(ConstTensorRef x, TensorRef y) override;
  void add(ConstTensorRef a, float alpha, ConstTensorRef b, float beta, TensorRef y) override;
  void silu(ConstTensorRef x, TensorRef y) override;
  void silu_backward(ConstTensorRef dy, ConstTensorRef x, TensorRef dx) override;
  void relu(ConstTensorRef x, TensorRef y) override;
  void relu_backward(ConstTensorRef dy, ConstTensorRef x, TensorRef dx) override;
  void dropout(ConstTensorRef x, float p, const RandomKey& key, TensorRef y) override;

  void conv2d(const Concat& x, ConstTensorRef w, const Conv2dGeometry& geometry,
              const Conv2dEpilogue& epilogue, TensorRef y, Workspace& workspace) override;
  void conv2d_dgrad(ConstTensorRef dy, ConstTensorRef w, const Conv2dGeometry& geometry, float scale,
                    const Concat& so_far, const ConcatOut& dx, Workspace& workspace) override;
  void conv2d_wgrad(const Concat& x, ConstTensorRef dy, const Conv2dGeometry& geometry, float scale,
                    TensorRef dw, TensorRef dbias, Workspace& workspace) override;
  void per_image_bias_grad(ConstTensorRef dy, float scale, TensorRef dper_image,
                           Workspace& workspace) override;

  void group_norm(const Concat& x, ConstTensorRef gamma, ConstTensorRef beta, ConstTensorRef scale_shift,
                  const GroupNormConfig& config, TensorRef y, TensorRef statistics,
                  Workspace& workspace) override;
  void group_norm_backward(ConstTensorRef dy, const Concat& x, ConstTensorRef gamma, ConstTensorRef beta,
                           ConstTensorRef scale_shift, ConstTensorRef statistics,
                           const GroupNormConfig& config, const Concat& so_far, const ConcatOut& dx,
                           TensorRef dgamma, TensorRef dbeta, TensorRef dscale_shift,
                           Workspace& workspace) override;

  void attention(ConstTensorRef q, ConstTensorRef k, ConstTensorRef v, int heads, float scale, TensorRef y,
                 TensorRef lse, Workspace& workspace) override;
  void attention_backward(ConstTensorRef dy, ConstTensorRef q, ConstTensorRef k, ConstTensorRef v,
                          ConstTensorRef y, ConstTensorRef lse, int heads, float scale, TensorRef dq,
                          TensorRef dk, TensorRef dv, Workspace& workspace) override;

  void upsample2x(ConstTensorRef x, float scale, TensorRef y) override;
  void sum_pool2x(ConstTensorRef x, float scale, TensorRef y) override;
  void avg_pool(ConstTensorRef x, const PoolWindow& window, TensorRef y) override;
  void avg_pool_backward(ConstTensorRef dy, const PoolWindow& window, TensorRef dx) override;
  void max_pool(ConstTensorRef x, const PoolWindow& window, TensorRef y) override;

  void sinusoid(ConstTensorRef t, ConstTensorRef frequencies, bool cos_first, TensorRef y) override;
  void embedding(ConstTensorRef table, ConstTensorRef index, TensorRef y) override;
  void embedding_backward(ConstTensorRef dy, ConstTensorRef index, TensorRef dtable) override;

  void cross_entropy(ConstTensorRef x, ConstTensorRef label, TensorRef loss) override;
  void cross_entropy_backward(ConstTensorRef dloss, ConstTensorRef x, ConstTensorRef label,
                              TensorRef dx) override;

  void normal(const RandomKey& key, TensorRef y) override;
  void q_sample(ConstTensorRef x0, ConstTensorRef coefficients, const RandomKey& key, TensorRef xt,
                TensorRef target) override;
  void mse_loss(ConstTensorRef prediction, ConstTensorRef target, ConstTensorRef weight,
                TensorRef loss) override;
  void mse_loss_backward(ConstTensorRef dloss, ConstTensorRef prediction, ConstTensorRef target,
                         ConstTensorRef weight, TensorRef dprediction) override;
  void hybrid_loss(const HybridLossInputs& inputs, TensorRef loss) override;
  void hybrid_loss_backward(ConstTensorRef dloss, const HybridLossInputs& inputs,
                            TensorRef dprediction) override;
  void sampler_step(const SamplerTensors& tensors, const SamplerStep& step, const RandomKey& key) override;

  void norm(ConstTensorRef x, TensorRef y, Workspace& workspace) override;
  void adamw(ConstTensorRef g, ConstTensorRef grad_norm, ConstTensorRef step, TensorRef p, TensorRef m,
             TensorRef v, TensorRef ema, TensorRef p_bf16) override;

 private:
  cpu::ConvWay way(cpu::ConvPass pass, DType type, const cpu::ConvShape& shape) const;

  std::optional<cpu::ConvWay> only_;
  cpu::ConvChoices choices_;
};

}  // namespace imago
