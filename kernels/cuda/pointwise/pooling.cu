// Pooling over windows of any size on NHWC images.
//
// One block writes one row of pixels; its threads run along (w, c), eight channels each where channels come
// in eights: reads and writes are sixteen bytes, neighbours in c are neighbours in memory. Windows that
// overlap read a pixel several times, from the cache.
#include "kernels/cuda/device/vec.h"
#include "kernels/cuda/runtime/cuda_backend.h"

namespace imago::IMAGO_CUDA_NAMESPACE {
namespace {

constexpr int kThreads = 256;

/// Both sides of a pooling along one dimension.
struct Axis {
  int extent, out;  // pixels of the image; windows
  int before, size;
  Divisor stride;

  /// The pixels that window i holds: [begin, end).
  __device__ __forceinline__ void window(int i, int& begin, int& end) const {
    const int first = i * static_cast<int>(stride.value) - before;
    begin = max(0, first);
    end = min(extent, first + size);
  }
  __device__ __forceinline__ int pixels(int i) const {
    int begin, end;
    window(i, begin, end);
    return end - begin;
  }
  /// The windows that hold pixel h: [begin, end).
  __device__ __forceinline__ void windows(int h, int& begin, int& end) const {
    begin = stride.divide(max(0, h + before - size + static_cast<int>(stride.value)));
    end = min(out, stride.divide(h + before) + 1);
  }
};

struct Pooling {
  Axis rows, columns;
  int channels;
  Divisor units;  // groups of channels that one thread takes
};

struct Mean {
  static constexpr float kStart = 0;
  static __device__ __forceinline__ float join(float a, float b) { return a + b; }
  static __device__ __forceinline__ float finish(float sum, float one_over_pixels) {
    return sum * one_over_pixels;
  }
};

struct Maximum {
  static constexpr float kStart = -INFINITY;
  static __device__ __forceinline__ float join(float a, float b) {
    return b <= a || a != a ? a : b;  // NaN stays
  }
  static __device__ __forceinline__ float finish(float largest, float) { return largest; }
};

template <int kWidth, class T>
__device__ __forceinline__ void load_unit(const T* p, float (&v)[kWidth]) {
  if constexpr (kWidth == 8)
    load8(p, v);
  else
    v[0] = to_float(*p);
}
template <int kWidth, class T>
__device__ __forceinline__ void store_unit(T* p, const float (&v)[kWidth]) {
  if constexpr (kWidth == 8)
    store8(p, v);
  else
    *p = from_float<T>(v[0]);
}

/// x [N,H,W,C] -> y [N,Ho,Wo,C]; kWidth channels a thread.
template <class Pool, class T, int kWidth>
__global__ void __launch_bounds__(kThreads) pool_kernel(const T* x, T* y, const Pooling p) {
  const int64_t row = blockIdx.x;
  const int i = static_cast<int>(row % p.rows.out);
  const T* image = x + row / p.rows.out * p.rows.extent * p.columns.extent * p.channels;
  int top, bottom;
  p.rows.window(i, top, bottom);
  for (int at = static_cast<int>(threadIdx.x); at < p.columns.out * p.channels / kWidth; at += kThreads) {
    int j, unit, left, right;
    p.units.split(at, j, unit);
    p.columns.window(j, left, right);
    float joined[kWidth], v[kWidth];
#pragma unroll
    for (int e = 0; e < kWidth; ++e) joined[e] = Pool::kStart;
    for (int h = top; h < bottom; ++h) {
#pragma unroll 2  // more at a time spill registers
      for (int w = left; w < right; ++w) {
        load_unit<kWidth>(image + (int64_t{h} * p.columns.extent + w) * p.channels + unit * kWidth, v);
#pragma unroll
        for (int e = 0; e < kWidth; ++e) joined[e] = Pool::join(joined[e], v[e]);
      }
    }
    const float share = __fdividef(1.0f, static_cast<float>((bottom - top) * (right - left)));
#pragma unroll
    for (int e = 0; e < kWidth; ++e) joined[e] = Pool::finish(joined[e], share);
    store_unit<kWidth>(y + (row * p.columns.out + j) * p.channels + unit * kWidth, joined);
  }
}

/// dy [N,Ho,Wo,C] -> dx [N,H,W,C]
template <class T, int kWidth>
__global__ void __launch_bounds__(kThreads) avg_pool_backward_kernel(const T* dy, T* dx, const Pooling p) {
  const int64_t row = blockIdx.x;
  const int h = static_cast<int>(row % p.rows.extent);
  const T* image = dy + row / p.rows.extent * p.rows.out * p.columns.out * p.channels;
  int top, bottom;
  p.rows.windows(h, top, bottom);
  for (int at = static_cast<int>(threadIdx.x); at < p.columns.extent * p.channels / kWidth; at += kThreads) {
    int w, unit, left, right;
    p.units.split(at, w, unit);
    p.columns.windows(w, left, right);
    float sum[kWidth] = {}, v[kWidth];
    for (int i = top; i < bottom; ++i) {
#pragma unroll 2  // more at a time spill registers
      for (int j = left; j < right; ++j) {
        load_unit<kWidth>(image + (int64_t{i} * p.columns.out + j) * p.channels + unit * kWidth, v);
        const float share = __fdividef(1.0f, static_cast<float>(p.rows.pixels(i) * p.columns.pixels(j)));
#pragma unroll
        for (int e = 0; e < kWidth; ++e) sum[e] += share * v[e];
      }
    }
    store_unit<kWidth>(dx + (row * p.columns.extent + w) * p.channels + unit * kWidth, sum);
  }
}

/// image [N,H,W,C] and pooled [N,Ho,Wo,C], of which `to` is written: one block a row of it.
template <class T, class Kernel>
void launch_rows(const Gpu& gpu, Kernel eight, Kernel one, const PoolWindow& window, const Shape& image,
                 const Shape& pooled, ConstTensorRef from, TensorRef to) {
  if (to.numel() == 0) return;
  for (const Shape* s : {&image, &pooled})
    check((*s)[1] < (1 << 30) && (*s)[2] * (*s)[3] < (int64_t{1} << 31), "pooling: an image of ", *s);
  const Conv2dGeometry& g = window.geometry;
  const auto extent = [](const Shape& s, int i) { return static_cast<int>(s[i]); };
  const bool vector = image[3] % 8 == 0 && aligned16(from.data) && aligned16(to.data);
  const Pooling pooling{
      .rows = {extent(image, 1), extent(pooled, 1), g.top, window.rows, Divisor(g.stride)},
      .columns = {extent(image, 2), extent(pooled, 2), g.left, window.columns, Divisor(g.stride)},
      .channels = extent(image, 3),
      .units = Divisor(vector ? image[3] / 8 : image[3]),
  };
  const LaunchConfig config{
      .grid = blocks_for(to.shape[0] * to.shape[1], 1), .block = kThreads, .stream = gpu.stream};
  launch(vector ? eight : one, config, from.as<T>(), to.as<T>(), pooling);
}

}  // namespace

void CudaBackend::avg_pool(ConstTensorRef x, const PoolWindow& window, TensorRef y) {
  dispatch_float(x.dtype, "avg_pool", [&](auto t) {
    using T = decltype(t);
    launch_rows<T>(gpu_, pool_kernel<Mean, T, 8>, pool_kernel<Mean, T, 1>, window, x.shape, y.shape, x, y);
  });
}

void CudaBackend::avg_pool_backward(ConstTensorRef dy, const PoolWindow& window, TensorRef dx) {
  dispatch_float(dy.dtype, "avg_pool_backward", [&](auto t) {
    using T = decltype(t);
    launch_rows<T>(gpu_, avg_pool_backward_kernel<T, 8>, avg_pool_backward_kernel<T, 1>, window, dx.shape,
                   dy.shape, dy, dx);
  });
}

void CudaBackend::max_pool(ConstTensorRef x, const PoolWindow& window, TensorRef y) {
  dispatch_float(x.dtype, "max_pool", [&](auto t) {
    using T = decltype(t);
    launch_rows<T>(gpu_, pool_kernel<Maximum, T, 8>, pool_kernel<Maximum, T, 1>, window, x.shape, y.shape, x,
                   y);
  });
}

}  // namespace imago::IMAGO_CUDA_NAMESPACE
