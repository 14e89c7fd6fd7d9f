// Embeddings: of times by sines (Vaswani 2017, section 3.5), of labels by a table. Small, [N, a few hundred]
// elements a step: what each costs is its launch, some 2 us.
#include "kernels/cuda/device/flat_tiling.h"
#include "kernels/cuda/device/vec.h"
#include "kernels/cuda/runtime/cuda_backend.h"

namespace imago::IMAGO_CUDA_NAMESPACE {
namespace {

constexpr int kThreads = kEmbeddingThreads;

// y[n] = [sin(t f), cos(t f)], halves swapped if cos_first, an odd last column zero. Block n, threads
// along the columns. The angle reaches 1000 radians: sinf and cosf with their full argument reduction, not
// the fast ones.
template <class T>
__global__ void __launch_bounds__(kThreads)
    sinusoid_kernel(const float* t, const float* frequencies, const int width, const bool cos_first, T* y) {
  const int half = width / 2;
  const int64_t n = blockIdx.x;
  for (int e = static_cast<int>(threadIdx.x); e < width; e += kThreads) {
    float v = 0.0f;
    if (e < 2 * half) {
      const float angle = t[n] * frequencies[e < half ? e : e - half];
      v = (e < half) == cos_first ? cosf(angle) : sinf(angle);
    }
    y[n * width + e] = from_float<T>(v);
  }
}

// y[n] = table[index[n]]. Block n, threads along the columns.
template <class T>
__global__ void __launch_bounds__(kThreads)
    embedding_kernel(const T* table, const int32_t* index, const int width, T* y) {
  const int64_t n = blockIdx.x, row = index[n];
  for (int e = static_cast<int>(threadIdx.x); e < width; e += kThreads)
    y[n * width + e] = table[row * width + e];
}

// dtable[index[n]] += dy[n]. A thread owns a column and walks through the batch, so that rows which several
// images share are summed in the order of the batch, without atomics.
template <class T>
__global__ void __launch_bounds__(kThreads)
    embedding_backward_kernel(const T* dy, const int32_t* index, const int images, const int width,
                              float* dtable) {
  const int e = static_cast<int>(blockIdx.x) * kThreads + static_cast<int>(threadIdx.x);
  if (e >= width) return;
  for (int n = 0; n < images; ++n)
    dtable[int64_t{index[n]} * width + e] += to_float(dy[int64_t{n} * width + e]);
}

unsigned rows(ConstTensorRef index) {
  return blocks_for(index.numel(), 1);
}

}  // namespace

void CudaBackend::sinusoid(ConstTensorRef t, ConstTensorRef frequencies, bool cos_first, TensorRef y) {
  if (y.numel() == 0) return;
  const int width = static_cast<int>(y.shape[1]);
  dispatch_float(y.dtype, "sinusoid", [&](auto type) {
    using T = decltype(type);
    launch(sinusoid_kernel<T>, {.grid = rows(t), .block = kThreads, .stream = gpu_.stream}, t.as<float>(),
           frequencies.as<float>(), width, cos_first, y.as<T>());
  });
}

void CudaBackend::embedding(ConstTensorRef table, ConstTensorRef index, TensorRef y) {
  if (y.numel() == 0) return;
  dispatch_float(y.dtype, "embedding", [&](auto type) {
    using T = decltype(type);
    launch(embedding_kernel<T>, {.grid = rows(index), .block = kThreads, .stream = gpu_.stream},
           table.as<T>(), index.as<int32_t>(), static_cast<int>(table.shape[1]), y.as<T>());
  });
}

void CudaBackend::embedding_backward(ConstTensorRef dy, ConstTensorRef index, TensorRef dtable) {
  if (dy.numel() == 0) return;
  const int width = static_cast<int>(dtable.shape[1]);
  dispatch_float(dy.dtype, "embedding_backward", [&](auto type) {
    using T = decltype(type);
    launch(embedding_backward_kernel<T>,
           {.grid = blocks_for(width, kThreads), .block = kThreads, .stream = gpu_.stream}, dy.as<T>(),
           index.as<int32_t>(), static_cast<int>(index.numel()), width, dtable.as<float>());
  });
}

}  // namespace imago::IMAGO_CUDA_NAMESPACE
