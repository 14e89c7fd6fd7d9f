// Elementwise operations: fill, copy, add, silu and relu with their gradients on the pattern of map.h, and
// dropout. Memory-bound, every tensor once: map.h says how. Dropout adds a quarter of a Philox block an
// element, some 30 instructions, which take about as long as its bytes in bfloat16.
#include "kernels/cuda/device/vec.h"
#include "kernels/cuda/pointwise/map.h"
#include "kernels/cuda/runtime/cuda_backend.h"
#include "kernels/philox.h"

namespace imago::IMAGO_CUDA_NAMESPACE {
namespace {

// ---- y = value ----

template <class T>
__global__ void __launch_bounds__(256) fill_kernel(T* y, const int64_t n, const T value) {
  const int64_t i = static_cast<int64_t>(blockIdx.x) * blockDim.x + threadIdx.x;
  if (i < n) y[i] = value;
}

template <class T>
void fill_with(const Gpu& gpu, TensorRef y, T value) {
  const LaunchConfig config{.grid = blocks_for(y.numel(), 256), .block = 256, .stream = gpu.stream};
  launch(fill_kernel<T>, config, y.as<T>(), y.numel(), value);
}

// ---- functions of elements ----

struct Identity {
  __device__ __forceinline__ float operator()(float x) const { return x; }
};

struct WeightedSum {  // alpha a + beta b
  float alpha, beta;
  __device__ __forceinline__ float operator()(float a, float b) const { return alpha * a + beta * b; }
};

struct Silu {  // x s
  __device__ __forceinline__ float operator()(float x) const { return x * sigmoid(x); }
};

struct SiluBackward {  // dy s (1 + x (1 - s))
  __device__ __forceinline__ float operator()(float dy, float x) const {
    const float s = sigmoid(x);
    return dy * s * (1.0f + x * (1.0f - s));
  }
};

struct Relu {  // max(x, 0), and NaN stays
  __device__ __forceinline__ float operator()(float x) const { return x < 0.0f ? 0.0f : x; }
};

struct ReluBackward {
  __device__ __forceinline__ float operator()(float dy, float x) const { return x > 0.0f ? dy : 0.0f; }
};

// ---- dropout: y = keep ? x / (1 - p) : 0, keep = uniform(key, element) >= p ----
// One Philox call gives four elements their numbers: a thread owns a quad. blockIdx.y is not the image,
// since a grid has only 65535 of them: quads of all images are counted through.

template <class T>
__global__ void __launch_bounds__(256)
    dropout_kernel(const T* x, T* y, const int64_t* ids, const int64_t images, const int64_t elements,
                   const float p, const float scale, const uint64_t seed, const uint32_t stream) {
  const int64_t quads = (elements + 3) / 4,
                thread = static_cast<int64_t>(blockIdx.x) * blockDim.x + threadIdx.x;
  if (thread >= images * quads) return;
  const int64_t n = thread / quads, quad = thread % quads;
  const FloatQuad u = uniform_quad(seed, stream, ids[n], static_cast<uint32_t>(quad));
  for (int lane = 0; lane < 4 && 4 * quad + lane < elements; ++lane) {
    const int64_t i = n * elements + 4 * quad + lane;
    y[i] = from_float<T>(u[lane] >= p ? to_float(x[i]) * scale : 0.0f);
  }
}

}  // namespace

void CudaBackend::fill(TensorRef y, double value) {
  if (y.numel() == 0) return;
  if (value == 0) {  // all bits zero in every type
    IMAGO_CUDA(cudaMemsetAsync(y.data, 0, y.bytes(), gpu_.stream));
    return;
  }
  switch (y.dtype) {
    case DType::kFloat32: return fill_with(gpu_, y, static_cast<float>(value));
    case DType::kBFloat16: return fill_with(gpu_, y, bf16(static_cast<float>(value)));
    case DType::kFloat64: return fill_with(gpu_, y, value);
    case DType::kUInt8: return fill_with(gpu_, y, static_cast<uint8_t>(value));
    case DType::kInt32: return fill_with(gpu_, y, static_cast<int32_t>(value));
    case DType::kInt64: return fill_with(gpu_, y, static_cast<int64_t>(value));
  }
}

void CudaBackend::copy(ConstTensorRef x, TensorRef y) {
  if (x.dtype == y.dtype) {
    if (x.bytes())
      IMAGO_CUDA(cudaMemcpyAsync(y.data, x.data, x.bytes(), cudaMemcpyDeviceToDevice, gpu_.stream));
    return;
  }
  if (x.dtype == DType::kUInt8)
    dispatch_float(y.dtype, "copy", [&](auto out) {
      map(gpu_, Identity{}, y.as<decltype(out)>(), y.numel(), x.as<uint8_t>());
    });
  else if (x.dtype == DType::kFloat32 && y.dtype == DType::kBFloat16)
    map(gpu_, Identity{}, y.as<__nv_bfloat16>(), y.numel(), x.as<float>());
  else if (x.dtype == DType::kBFloat16 && y.dtype == DType::kFloat32)
    map(gpu_, Identity{}, y.as<float>(), y.numel(), x.as<__nv_bfloat16>());
  else
    failure("copy on CUDA: no conversion from ", x.dtype, " to ", y.dtype);
}

void CudaBackend::add(ConstTensorRef a, float alpha, ConstTensorRef b, float beta, TensorRef y) {
  dispatch_float(y.dtype, "add", [&](auto t) {
    using T = decltype(t);
    map(gpu_, WeightedSum{alpha, beta}, y.as<T>(), y.numel(), a.as<T>(), b.as<T>());
  });
}

void CudaBackend::silu(ConstTensorRef x, TensorRef y) {
  dispatch_float(y.dtype, "silu",
                 [&](auto t) { map(gpu_, Silu{}, y.as<decltype(t)>(), y.numel(), x.as<decltype(t)>()); });
}

void CudaBackend::silu_backward(ConstTensorRef dy, ConstTensorRef x, TensorRef dx) {
  dispatch_float(dx.dtype, "silu_backward", [&](auto t) {
    using T = decltype(t);
    map(gpu_, SiluBackward{}, dx.as<T>(), dx.numel(), dy.as<T>(), x.as<T>());
  });
}

void CudaBackend::relu(ConstTensorRef x, TensorRef y) {
  dispatch_float(y.dtype, "relu",
                 [&](auto t) { map(gpu_, Relu{}, y.as<decltype(t)>(), y.numel(), x.as<decltype(t)>()); });
}

void CudaBackend::relu_backward(ConstTensorRef dy, ConstTensorRef x, TensorRef dx) {
  dispatch_float(dx.dtype, "relu_backward", [&](auto t) {
    using T = decltype(t);
    map(gpu_, ReluBackward{}, dx.as<T>(), dx.numel(), dy.as<T>(), x.as<T>());
  });
}

void CudaBackend::dropout(ConstTensorRef x, float p, const RandomKey& key, TensorRef y) {
  const int64_t images = x.shape[0], elements = images ? x.numel() / images : 0;
  if (elements == 0) return;
  const LaunchConfig config{
      .grid = blocks_for(images * ((elements + 3) / 4), 256), .block = 256, .stream = gpu_.stream};
  dispatch_float(x.dtype, "dropout", [&](auto t) {
    using T = decltype(t);
    launch(dropout_kernel<T>, config, x.as<T>(), y.as<T>(), key.ids.as<int64_t>(), images, elements, p,
           1.0f / (1.0f - p), key.seed, key.stream);
  });
}

}  // namespace imago::IMAGO_CUDA_NAMESPACE
