// Softmax cross entropy. With lse[n] = log sum_k exp(x[n,k]):
//   loss[n] = lse[n] - x[n, label[n]],   dx[n,k] = dloss[n] (exp(x[n,k] - lse[n]) - [k = label[n]]).
// x, dx [N,K] float32 or bfloat16, label [N] int32, loss and dloss [N] float32; sums in float32.
//
// The idea: a warp owns a row, so that maximum and sum are shuffles and no block waits for another. Lane l
// takes the classes l, l + 32, ...; with ten to a thousand classes a row is read two or three times, from
// cache but for the first. The butterfly adds the lanes in one order whatever the GPU. What it costs is its
// launch.
#include "kernels/cuda/device/vec.h"
#include "kernels/cuda/runtime/cuda_backend.h"

namespace imago::IMAGO_CUDA_NAMESPACE {
namespace {

constexpr int kThreads = 128, kWarps = kThreads / 32;
constexpr unsigned kAllLanes = 0xffffffffu;

/// log sum_k exp(x[k]) in every lane; the largest goes in front of the logarithm, so that nothing overflows.
template <class T>
__device__ __forceinline__ float log_sum_exp(const T* x, const int classes, const int lane) {
  float largest = -INFINITY;
  for (int k = lane; k < classes; k += 32) largest = fmaxf(largest, to_float(x[k]));
  for (int apart = 16; apart > 0; apart /= 2)
    largest = fmaxf(largest, __shfl_xor_sync(kAllLanes, largest, apart));
  float sum = 0.0f;
  for (int k = lane; k < classes; k += 32) sum += expf(to_float(x[k]) - largest);
  for (int apart = 16; apart > 0; apart /= 2) sum += __shfl_xor_sync(kAllLanes, sum, apart);
  return largest + logf(sum);
}

/// The row of this warp.
__device__ __forceinline__ int64_t row_of_warp() {
  return int64_t{blockIdx.x} * kWarps + static_cast<int>(threadIdx.x) / 32;
}

template <class T>
__global__ void __launch_bounds__(kThreads)
    cross_entropy_kernel(const T* x, const int32_t* label, const int rows, const int classes, float* loss) {
  const int64_t n = row_of_warp();
  if (n >= rows) return;
  const int lane = static_cast<int>(threadIdx.x) % 32;
  const T* logits = x + n * classes;
  const float lse = log_sum_exp(logits, classes, lane);
  if (lane == 0) loss[n] = lse - to_float(logits[label[n]]);
}

template <class T>
__global__ void __launch_bounds__(kThreads)
    cross_entropy_backward_kernel(const float* dloss, const T* x, const int32_t* label, const int rows,
                                  const int classes, T* dx) {
  const int64_t n = row_of_warp();
  if (n >= rows) return;
  const int lane = static_cast<int>(threadIdx.x) % 32;
  const T* logits = x + n * classes;
  const float lse = log_sum_exp(logits, classes, lane), factor = dloss[n];
  for (int k = lane; k < classes; k += 32) {
    const float wanted = k == label[n] ? 1.0f : 0.0f;
    dx[n * classes + k] = from_float<T>(factor * (expf(to_float(logits[k]) - lse) - wanted));
  }
}

}  // namespace

void CudaBackend::cross_entropy(ConstTensorRef x, ConstTensorRef label, TensorRef loss) {
  const int rows = static_cast<int>(x.shape[0]), classes = static_cast<int>(x.shape[1]);
  if (rows == 0) return;
  dispatch_float(x.dtype, "cross_entropy", [&](auto type) {
    using T = decltype(type);
    launch(cross_entropy_kernel<T>,
           {.grid = blocks_for(rows, kWarps), .block = kThreads, .stream = gpu_.stream}, x.as<T>(),
           label.as<int32_t>(), rows, classes, loss.as<float>());
  });
}

void CudaBackend::cross_entropy_backward(ConstTensorRef dloss, ConstTensorRef x, ConstTensorRef label,
                                         TensorRef dx) {
  const int rows = static_cast<int>(x.shape[0]), classes = static_cast<int>(x.shape[1]);
  if (rows == 0) return;
  dispatch_float(x.dtype, "cross_entropy_backward", [&](auto type) {
    using T = decltype(type);
    launch(cross_entropy_backward_kernel<T>,
           {.grid = blocks_for(rows, kWarps), .block = kThreads, .stream = gpu_.stream}, dloss.as<float>(),
           x.as<T>(), label.as<int32_t>(), rows, classes, dx.as<T>());
  });
}

}  // namespace imago::IMAGO_CUDA_NAMESPACE
