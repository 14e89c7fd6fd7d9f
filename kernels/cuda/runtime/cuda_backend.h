// The GPU as a Backend: one device, one stream, our own kernels.
#pragma once

#include <functional>
#include <memory>

#include "kernels/backend.h"
#include "kernels/cuda/runtime/gpu.h"

namespace imago::IMAGO_CUDA_NAMESPACE {

class PinnedBuffers;
class StagedUpload;
struct TuningSettings;

/// Every operation of kernels/backend.h in float32 and bfloat16; each is defined in the folder of its family.
/// Operations return as soon as they are enqueued; download() and synchronize() wait.
class CudaBackend : public Backend {
 public:
  explicit CudaBackend(int device = 0);  // tuned as the environment says
  CudaBackend(int device, const TuningSettings& tuning);
  ~CudaBackend() override;

  const Gpu& gpu() const { return gpu_; }
  const char* name() const override;  // "cuda", or "cuda_on_cpu" where the kernels run in emulation
  bool supports(DType activations) const override {
    return activations == DType::kFloat32 || activations == DType::kBFloat16;
  }

  void* allocate(size_t bytes) override;
  void deallocate(void* p, size_t bytes) override;
  void upload(void* device, const void* host, size_t bytes) override;
  void download(void* host, const void* device, size_t bytes) override;
  std::unique_ptr<Download> download_later(const void* device, size_t bytes) override;
  void synchronize() override;
  DeviceMemory memory() const override;

  bool has_graphs() const override { return true; }
  std::unique_ptr<Graph> record_graph(const std::function<void()>& enqueue) override;

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

 protected:
  Gpu gpu_;  // tests pretend to have fewer multiprocessors or an older device

 private:
  bool recording_ = false;
  // By pointer: files of kernels need not see what these are.
  std::unique_ptr<StagedUpload> staged_upload_;
  std::shared_ptr<PinnedBuffers> pinned_buffers_;
  std::unique_ptr<Autotuner> autotuner_;
};

}  // namespace imago::IMAGO_CUDA_NAMESPACE
