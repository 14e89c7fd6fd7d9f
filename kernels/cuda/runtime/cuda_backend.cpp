// The GPU as a Backend: its memory and its stream; the operations are one call each.
#include "kernels/cuda/runtime/cuda_backend.h"

#include <algorithm>
#include <memory>

#include "kernels/cuda/attention/attention.h"
#include "kernels/cuda/convolution/conv2d.h"
#include "kernels/cuda/diffusion/diffusion.h"
#include "kernels/cuda/norm/group_norm.h"
#include "kernels/cuda/optimizer/optimizer.h"
#include "kernels/cuda/pointwise/elementwise.h"
#include "kernels/cuda/pointwise/embedding.h"
#include "kernels/cuda/pointwise/resample.h"
#include "kernels/cuda/runtime/graph.h"

namespace imago {
namespace IMAGO_CUDA_NAMESPACE {
namespace {

namespace ops = IMAGO_CUDA_NAMESPACE;  // the launchers share the names of the methods that call them

int attribute(cudaDeviceAttr which, int device) {
  int value = 0;
  IMAGO_CUDA(cudaDeviceGetAttribute(&value, which, device));
  return value;
}

double mebibytes(size_t bytes) {
  return static_cast<double>(bytes >> 10) / 1024;
}

}  // namespace

void cuda_failure(cudaError_t error, const char* call) {
  const std::string name = std::string(call).substr(0, std::string(call).find('('));
  if (error != cudaErrorMemoryAllocation) failure(name, ": ", cudaGetErrorString(error));
  cudaGetLastError();  // running out of memory is not sticky: later calls may succeed
  size_t free = 0, total = 0;
  cudaMemGetInfo(&free, &total);
  failure(
      "out of GPU memory in ", name, ": ", mebibytes(free), " MiB of ", mebibytes(total),
      " MiB are free; use a smaller batch, a smaller model or bfloat16, or end other programs on this GPU");
}

// ---- The device ----

CudaBackend::CudaBackend(int device, const Autotuner::Settings& tuning) : autotuner_(tuning) {
  gpu_.autotuner = &autotuner_;
  IMAGO_CUDA(cudaSetDevice(device));
  gpu_.sms = attribute(cudaDevAttrMultiProcessorCount, device);
  gpu_.capability = 10 * attribute(cudaDevAttrComputeCapabilityMajor, device) +
                    attribute(cudaDevAttrComputeCapabilityMinor, device);
  gpu_.shared_bytes = static_cast<size_t>(attribute(cudaDevAttrMaxSharedMemoryPerBlockOptin, device));
  if (gpu_.capability < 80)
    bad_input("the GPU has compute capability ", gpu_.capability / 10, ".", gpu_.capability % 10,
              "; bfloat16 tensor cores and asynchronous copies need 8.0 or newer");
  IMAGO_CUDA(cudaStreamCreateWithFlags(&gpu_.stream, cudaStreamNonBlocking));
}

CudaBackend::~CudaBackend() {
  cudaStreamSynchronize(gpu_.stream);  // errors have nowhere to go from a destructor
  cudaStreamDestroy(gpu_.stream);
}

const char* CudaBackend::name() const {
#ifdef __CUDACC__
  return "cuda";
#else
  return "cuda_on_cpu";
#endif
}

// ---- Memory ----

DeviceMemory CudaBackend::memory() const {
  DeviceMemory m;
  IMAGO_CUDA(cudaMemGetInfo(&m.free, &m.total));
  return m;
}

void* CudaBackend::allocate(size_t bytes) {
  void* p = nullptr;
  const cudaError_t error = cudaMalloc(&p, std::max<size_t>(bytes, 1));
  if (error == cudaErrorMemoryAllocation) {
    cudaGetLastError();
    return nullptr;
  }
  checked(error, "cudaMalloc");
  return p;
}

void CudaBackend::deallocate(void* p, size_t) {
  IMAGO_CUDA(cudaFree(p));
}

void CudaBackend::upload(void* device, const void* host, size_t bytes) {
  check(!recording_, "cuda: an upload while operations are being recorded");
  staged_upload_(gpu_.stream, device, host, bytes);
}

void CudaBackend::download(void* host, const void* device, size_t bytes) {
  check(!recording_, "cuda: a download while operations are being recorded");
  if (bytes) IMAGO_CUDA(cudaMemcpyAsync(host, device, bytes, cudaMemcpyDeviceToHost, gpu_.stream));
  synchronize();
}

std::unique_ptr<Download> CudaBackend::download_later(const void* device, size_t bytes) {
  return start_download(landing_buffers_, gpu_.stream, device, bytes);
}

void CudaBackend::synchronize() {
  IMAGO_CUDA(cudaStreamSynchronize(gpu_.stream));
}

// ---- Graphs ----

std::unique_ptr<Graph> CudaBackend::record_graph(const std::function<void()>& enqueue) {
  recording_ = true;
  std::unique_ptr<Graph> graph;
  try {
    graph = capture_stream(gpu_.stream, enqueue);
  } catch (...) {
    recording_ = false;
    throw;
  }
  recording_ = false;
  return graph;
}

// ---- Elementwise ----

void CudaBackend::fill(TensorRef y, double value) {
  ops::fill(gpu_, y, value);
}
void CudaBackend::copy(ConstTensorRef x, TensorRef y) {
  ops::copy(gpu_, x, y);
}
void CudaBackend::add(ConstTensorRef a, float alpha, ConstTensorRef b, float beta, TensorRef y) {
  ops::add(gpu_, a, alpha, b, beta, y);
}
void CudaBackend::silu(ConstTensorRef x, TensorRef y) {
  ops::silu(gpu_, x, y);
}
void CudaBackend::silu_backward(ConstTensorRef dy, ConstTensorRef x, TensorRef dx) {
  ops::silu_backward(gpu_, dy, x, dx);
}
void CudaBackend::dropout(ConstTensorRef x, float p, const RandomKey& key, TensorRef y) {
  ops::dropout(gpu_, x, p, key, y);
}

// ---- Convolution ----

void CudaBackend::conv2d(const Concat& x, ConstTensorRef w, const Conv2dGeometry& geometry,
                         const Conv2dEpilogue& epilogue, TensorRef y, Workspace&) {
  ops::conv2d(gpu_, x, w, geometry, epilogue, y);
}
void CudaBackend::conv2d_dgrad(ConstTensorRef dy, ConstTensorRef w, const Conv2dGeometry& geometry,
                               float scale, const Concat& so_far, const ConcatOut& dx, Workspace&) {
  ops::conv2d_dgrad(gpu_, dy, w, geometry, scale, so_far, dx);
}
void CudaBackend::conv2d_wgrad(const Concat& x, ConstTensorRef dy, const Conv2dGeometry& geometry,
                               float scale, TensorRef dw, TensorRef dbias, Workspace& workspace) {
  ops::conv2d_wgrad(gpu_, x, dy, geometry, scale, dw, dbias, workspace);
}
void CudaBackend::per_image_bias_grad(ConstTensorRef dy, float scale, TensorRef dper_image,
                                      Workspace& workspace) {
  ops::per_image_bias_grad(gpu_, dy, scale, dper_image, workspace);
}

// ---- Normalisation ----

void CudaBackend::group_norm(const Concat& x, ConstTensorRef gamma, ConstTensorRef beta,
                             ConstTensorRef scale_shift, const GroupNormConfig& config, TensorRef y,
                             TensorRef statistics, Workspace& workspace) {
  ops::group_norm(gpu_, x, gamma, beta, scale_shift, config, y, statistics, workspace);
}
void CudaBackend::group_norm_backward(ConstTensorRef dy, const Concat& x, ConstTensorRef gamma,
                                      ConstTensorRef beta, ConstTensorRef scale_shift,
                                      ConstTensorRef statistics, const GroupNormConfig& config,
                                      const Concat& so_far, const ConcatOut& dx, TensorRef dgamma,
                                      TensorRef dbeta, TensorRef dscale_shift, Workspace& workspace) {
  ops::group_norm_backward(gpu_, dy, x, gamma, beta, scale_shift, statistics, config, so_far, dx, dgamma,
                           dbeta, dscale_shift, workspace);
}

// ---- Attention ----

void CudaBackend::attention(ConstTensorRef q, ConstTensorRef k, ConstTensorRef v, int heads, float scale,
                            TensorRef y, TensorRef lse, Workspace& workspace) {
  ops::attention(gpu_, q, k, v, heads, scale, y, lse, workspace);
}
void CudaBackend::attention_backward(ConstTensorRef dy, ConstTensorRef q, ConstTensorRef k, ConstTensorRef v,
                                     ConstTensorRef y, ConstTensorRef lse, int heads, float scale,
                                     TensorRef dq, TensorRef dk, TensorRef dv, Workspace& workspace) {
  ops::attention_backward(gpu_, dy, q, k, v, y, lse, heads, scale, dq, dk, dv, workspace);
}

// ---- Resampling ----

void CudaBackend::upsample2x(ConstTensorRef x, float scale, TensorRef y) {
  ops::upsample2x(gpu_, x, scale, y);
}
void CudaBackend::sum_pool2x(ConstTensorRef x, float scale, TensorRef y) {
  ops::sum_pool2x(gpu_, x, scale, y);
}

// ---- Embeddings ----

void CudaBackend::sinusoid(ConstTensorRef t, ConstTensorRef frequencies, bool cos_first, TensorRef y) {
  ops::sinusoid(gpu_, t, frequencies, cos_first, y);
}
void CudaBackend::embedding(ConstTensorRef table, ConstTensorRef index, TensorRef y) {
  ops::embedding(gpu_, table, index, y);
}
void CudaBackend::embedding_backward(ConstTensorRef dy, ConstTensorRef index, TensorRef dtable) {
  ops::embedding_backward(gpu_, dy, index, dtable);
}

// ---- Diffusion ----

void CudaBackend::normal(const RandomKey& key, TensorRef y) {
  ops::normal(gpu_, key, y);
}
void CudaBackend::q_sample(ConstTensorRef x0, ConstTensorRef coefficients, const RandomKey& key, TensorRef xt,
                           TensorRef target) {
  ops::q_sample(gpu_, x0, coefficients, key, xt, target);
}
void CudaBackend::mse_loss(ConstTensorRef prediction, ConstTensorRef target, ConstTensorRef weight,
                           TensorRef loss) {
  ops::mse_loss(gpu_, prediction, target, weight, loss);
}
void CudaBackend::mse_loss_backward(ConstTensorRef dloss, ConstTensorRef prediction, ConstTensorRef target,
                                    ConstTensorRef weight, TensorRef dprediction) {
  ops::mse_loss_backward(gpu_, dloss, prediction, target, weight, dprediction);
}
void CudaBackend::sampler_step(ConstTensorRef x, ConstTensorRef m, const SamplerStep& step,
                               const RandomKey& key, TensorRef y) {
  ops::sampler_step(gpu_, x, m, step, key, y);
}

// ---- Optimizer ----

void CudaBackend::norm(ConstTensorRef x, TensorRef y, Workspace& workspace) {
  ops::norm(gpu_, x, y, workspace);
}
void CudaBackend::adamw(ConstTensorRef g, ConstTensorRef grad_norm, ConstTensorRef step, TensorRef p,
                        TensorRef m, TensorRef v, TensorRef ema, TensorRef p_bf16) {
  ops::adamw(gpu_, g, grad_norm, step, p, m, v, ema, p_bf16);
}

}  // namespace IMAGO_CUDA_NAMESPACE

// ---- The two ways in ----

#ifdef __CUDACC__
Backend* cuda_backend() {
  static const std::unique_ptr<Backend> backend = []() -> std::unique_ptr<Backend> {
    int devices = 0;
    if (cudaGetDeviceCount(&devices) != cudaSuccess ||
        devices == 0) {  // no driver, or a driver without a GPU
      cudaGetLastError();
      return nullptr;
    }
    return std::make_unique<IMAGO_CUDA_NAMESPACE::CudaBackend>();
  }();
  return backend.get();
}
#else
Backend& cuda_on_cpu_backend() {
  static IMAGO_CUDA_NAMESPACE::CudaBackend backend;
  return backend;
}
#endif

}  // namespace imago
