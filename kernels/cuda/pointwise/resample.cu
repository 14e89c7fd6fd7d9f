// Resampling by two on NHWC images. Two kernels serve four purposes:
//   upsample2x  y[n,h,w,c] = scale x[n,h/2,w/2,c]            nearest upsampling; with scale 1/4 the gradient
//   of
//                                                            average pooling
//   sum_pool2x  y[n,h,w,c] = scale sum of x's 2x2 block      with scale 1/4 average pooling; with 1 the
//   gradient
//                                                            of upsampling
//
// One block writes one row of pixels of y; its threads run along (w, c), eight channels each where channels
// come in eights: reads and writes are sixteen bytes, neighbours in c are neighbours in memory. Cost: 5/4 of
// the larger tensor's bytes over the memory's bandwidth.
#include "kernels/cuda/device/vec.h"
#include "kernels/cuda/runtime/cuda_backend.h"

namespace imago::IMAGO_CUDA_NAMESPACE {
namespace {

constexpr int kThreads = 256;

/// x [rows / 2, width / 2, C], y [rows, width, C]; kWidth channels a thread. Rows count through the batch: 2H
/// is even, so row / 2 never crosses from one image to the next.
template <class T, int kWidth>
__global__ void __launch_bounds__(kThreads)
    upsample_kernel(const T* x, T* y, const int width, const int channels, const float scale,
                    const Divisor units) {
  const int64_t row = blockIdx.x;
  for (int i = static_cast<int>(threadIdx.x); i < width * channels / kWidth; i += kThreads) {
    int w, unit;
    units.split(i, w, unit);
    const T* from = x + ((row / 2) * (width / 2) + w / 2) * channels + unit * kWidth;
    T* to = y + (row * width + w) * channels + unit * kWidth;
    if constexpr (kWidth == 8) {
      float v[8];
      load8(from, v);
#pragma unroll
      for (int e = 0; e < 8; ++e) v[e] *= scale;
      store8(to, v);
    } else {
      *to = from_float<T>(scale * to_float(*from));
    }
  }
}

/// x [2 rows, 2 width, C], y [rows, width, C]
template <class T, int kWidth>
__global__ void __launch_bounds__(kThreads)
    sum_pool_kernel(const T* x, T* y, const int width, const int channels, const float scale,
                    const Divisor units) {
  const int64_t row = blockIdx.x;
  for (int i = static_cast<int>(threadIdx.x); i < width * channels / kWidth; i += kThreads) {
    int w, unit;
    units.split(i, w, unit);
    const T* corner =
        x + (2 * row * 2 * width + 2 * w) * channels + unit * kWidth;  // upper left of the 2x2 block
    const T* below = corner + int64_t{2} * width * channels;
    T* to = y + (row * width + w) * channels + unit * kWidth;
    if constexpr (kWidth == 8) {
      float sum[8], v[8];
      load8(corner, sum);
      const T* others[3] = {corner + channels, below, below + channels};
#pragma unroll
      for (int k = 0; k < 3; ++k) {
        load8(others[k], v);
#pragma unroll
        for (int e = 0; e < 8; ++e) sum[e] += v[e];
      }
#pragma unroll
      for (int e = 0; e < 8; ++e) sum[e] *= scale;
      store8(to, sum);
    } else {
      *to = from_float<T>(scale * (to_float(corner[0]) + to_float(corner[channels]) + to_float(below[0]) +
                                   to_float(below[channels])));
    }
  }
}

/// y [N,H,W,C]: one block a row.
template <class T, class Kernel>
void launch_rows(const Gpu& gpu, Kernel eight, Kernel one, ConstTensorRef x, float scale, TensorRef y) {
  if (y.numel() == 0) return;
  const int width = static_cast<int>(y.shape[2]), channels = static_cast<int>(y.shape[3]);
  check(y.shape[2] * y.shape[3] < (int64_t{1} << 31), "resample: a row of ", y.shape[2] * y.shape[3],
        " elements");
  const bool vector = channels % 8 == 0 && aligned16(x.data) && aligned16(y.data);
  const LaunchConfig config{
      .grid = blocks_for(y.shape[0] * y.shape[1], 1), .block = kThreads, .stream = gpu.stream};
  launch(vector ? eight : one, config, x.as<T>(), y.as<T>(), width, channels, scale,
         Divisor(vector ? channels / 8 : channels));
}

}  // namespace

void CudaBackend::upsample2x(ConstTensorRef x, float scale, TensorRef y) {
  dispatch_float(x.dtype, "upsample2x", [&](auto t) {
    using T = decltype(t);
    launch_rows<T>(gpu_, upsample_kernel<T, 8>, upsample_kernel<T, 1>, x, scale, y);
  });
}

void CudaBackend::sum_pool2x(ConstTensorRef x, float scale, TensorRef y) {
  dispatch_float(x.dtype, "sum_pool2x", [&](auto t) {
    using T = decltype(t);
    launch_rows<T>(gpu_, sum_pool_kernel<T, 8>, sum_pool_kernel<T, 1>, x, scale, y);
  });
}

}  // namespace imago::IMAGO_CUDA_NAMESPACE
