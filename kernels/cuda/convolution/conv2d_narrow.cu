// Convolution between many channels and an image of at most three: the last layer of a U-Net forward, and the
// weight gradients of its first and last. 3x3, stride 1; the formulas are in conv2d.cu and conv2d_wgrad.cu.
//
// x [N,H,W,C], w and dw [K,3,3,C], dy and y [N,Ho,Wo,K]; float32 or bfloat16, sums in float32. The *wide*
// tensor has up to 128 channels in fours, the *narrow* one up to three.
//
// The idea: tiles of a matrix product are 64 wide or wider and would multiply zeros in all but three of
// their columns. Here a lane owns four wide channels, a warp all 128, and what belongs to the 27 narrow
// places (taps x channels) around a pixel stays in 108 registers of the lane: weights forward, sums in
// the weight gradient.
//
// Cost: 54 N Ho Wo C FLOP on the ordinary pipelines, the wide tensor read once from memory: at N = 128,
// 32x32x128 in bfloat16 0.9 GFLOP and 34 MB: 14 us of FFMA and 11 us at 3 TB/s on an H100, where the tiles of
// implicit_gemm.h take an estimated 100 us forward and 300 us and more for dw.
#include "kernels/cuda/convolution/conv2d_special.h"

#include "kernels/cuda/device/vec.h"

namespace imago::IMAGO_CUDA_NAMESPACE {
namespace {

constexpr int kNarrow = kNarrowChannels, kFilter = kNarrowFilter, kTaps = kFilter * kFilter;
constexpr int kWarps = kNarrowWarps, kThreads = 32 * kWarps;
constexpr int kBatch = 4;  // pixels whose loads are on their way together

struct Images {
  int height, width;  // of the wide tensor
  int narrow_height, narrow_width;
  int wide, narrow;  // channels
  int top, left;     // padding
};

// ---- forward, K narrow: y[p,k] = sum over taps and c of x[p + tap, c] w[k,tap,c] ----

/// A warp takes `run` output pixels one after the other, so that eight of nine loads hit L1.
template <class T>
__global__ void __launch_bounds__(kThreads, kNarrowBlocks)
    conv2d_to_narrow(const T* x, const T* w, const Images g, const int run, const ForwardOut<T> out) {
  const int lane = static_cast<int>(threadIdx.x) % 32, channel = lane * kWidePerLane;
  const int warp = static_cast<int>(blockIdx.x) * kWarps + static_cast<int>(threadIdx.x) / 32;
  const bool owner = channel < g.wide;
  float weight[kTaps][kNarrow][kWidePerLane] = {};
#pragma unroll
  for (int tap = 0; tap < kTaps; ++tap)
#pragma unroll
    for (int k = 0; k < kNarrow; ++k)
      if (owner && k < g.narrow) load4(w + (k * kTaps + tap) * g.wide + channel, weight[tap][k]);

  const int end = min((warp + 1) * run, out.lines);
  for (int pixel = warp * run; pixel < end; ++pixel) {
    const int row = pixel / g.narrow_width, j = pixel % g.narrow_width;
    const int n = row / g.narrow_height, i = row % g.narrow_height;
    float sum[8] = {};
#pragma unroll
    for (int tap = 0; tap < kTaps; ++tap) {
      const int h = i + tap / kFilter - g.top, v = j + tap % kFilter - g.left;
      if (!owner || h < 0 || h >= g.height || v < 0 || v >= g.width) continue;
      float wide[kWidePerLane];
      load4(x + ((static_cast<int64_t>(n) * g.height + h) * g.width + v) * g.wide + channel, wide);
#pragma unroll
      for (int k = 0; k < kNarrow; ++k)
#pragma unroll
        for (int e = 0; e < kWidePerLane; ++e) sum[k] = fmaf(wide[e], weight[tap][k][e], sum[k]);
    }
#pragma unroll
    for (int k = 0; k < kNarrow; ++k)
      for (int distance = 16; distance > 0; distance /= 2)
        sum[k] += __shfl_xor_sync(0xffffffffu, sum[k], distance);
    if (lane == 0) out(pixel, 0, sum);
  }
}

// ---- weight gradient: sums[tap,j,c] = sum over wide pixels of wide[pixel,c] narrow[pixel -+ tap, j] ----
// The bias's: a wide dy passes through the registers anyway; a narrow one is so small that it is read once
// more.

using Sums = float[kTaps][kNarrow][kWidePerLane];  // of a lane

/// The narrow pixels that the taps of row h reach, as float4 [kFilter][width + 2], zeros outside:
/// tile[r][v + s] if the wide tensor is dy (tap r, s reads x at + r, + s), tile[r][v + 2 - s] if it is x
/// (whose dy is at - r, - s).
template <bool kWideIsDy, class T>
__device__ __forceinline__ void load_narrow(const T* narrow, const Images& g, int n, int h, float4* tile) {
  const int columns = g.width + kFilter - 1;
  for (int id = static_cast<int>(threadIdx.x); id < kFilter * columns; id += kThreads) {
    const int r = id / columns, i = id % columns;
    const int row = kWideIsDy ? h + r - g.top : h - r + g.top;
    const int column = kWideIsDy ? i - g.left : i - (kFilter - 1) + g.left;
    const bool inside = row >= 0 && row < g.narrow_height && column >= 0 && column < g.narrow_width;
    const T* const p =
        narrow + ((static_cast<int64_t>(n) * g.narrow_height + row) * g.narrow_width + column) * g.narrow;
    const auto channel = [&](int j) { return inside && j < g.narrow ? to_float(p[j]) : 0.0f; };
    tile[id] = make_float4(channel(0), channel(1), channel(2), 0.0f);
  }
}

/// The lane's four channels of pixel v of a wide row, and what lies around it.
template <bool kWideIsDy>
__device__ __forceinline__ void add_pixel(const float (&wide)[kWidePerLane], const float4* tile, int columns,
                                          int v, Sums& sums) {
#pragma unroll
  for (int tap = 0; tap < kTaps; ++tap) {
    const int s = tap % kFilter;
    const float4 around = tile[tap / kFilter * columns + v + (kWideIsDy ? s : kFilter - 1 - s)];
#pragma unroll
    for (int e = 0; e < kWidePerLane; ++e) {
      sums[tap][0][e] = fmaf(around.x, wide[e], sums[tap][0][e]);
      sums[tap][1][e] = fmaf(around.y, wide[e], sums[tap][1][e]);
      sums[tap][2][e] = fmaf(around.z, wide[e], sums[tap][2][e]);
    }
  }
}

/// dbias from a block's share of a narrow dy, `pixels` of it in all. The adding threads are a multiple of the
/// channels, so that each meets only one of them. total: floats in shared memory, one for each thread.
template <class T>
__device__ __forceinline__ void sum_narrow(const T* dy, int pixels, int channels, float* total,
                                           const WgradTarget& to) {
  constexpr int kAdders = kThreads / 6 * 6;
  static_assert(kNarrow == 3, "six is a multiple of 1, 2 and 3");
  const int share = (pixels + static_cast<int>(gridDim.x) - 1) / static_cast<int>(gridDim.x);
  const int begin = min(static_cast<int>(blockIdx.x) * share, pixels), end = min(begin + share, pixels);
  const int thread = static_cast<int>(threadIdx.x);
  float sum = 0;
  if (thread < kAdders)
    for (int64_t i = int64_t{begin} * channels + thread; i < int64_t{end} * channels; i += kAdders)
      sum += to_float(dy[i]);
  total[thread] = sum;
  __syncthreads();
  if (thread >= channels) return;
  sum = 0;
  for (int i = thread; i < kAdders; i += channels) sum += total[i];
  to.put_bias(static_cast<int>(blockIdx.x), 0, thread, sum);
}

/// blockIdx.x: parts of the wide rows of all images.
template <bool kWideIsDy, class T>
__global__ void __launch_bounds__(kThreads, kNarrowBlocks)
    conv2d_wgrad_around(const T* wide, const T* narrow, const Images g, const int rows,
                        const int rows_per_part, const WgradTarget to) {
  IMAGO_DYNAMIC_SHARED(shared);
  float4* const tile = reinterpret_cast<float4*>(shared);      // [kFilter][width + 2]
  IMAGO_SHARED(float, total, [kTaps * kNarrow + 1][kWidest]);  // the last row: of dy alone
  const int lane = static_cast<int>(threadIdx.x) % 32, warp = static_cast<int>(threadIdx.x) / 32;
  const int channel = lane * kWidePerLane, columns = g.width + kFilter - 1;
  const bool owner = channel < g.wide;

  Sums sums = {};
  float of_wide[kWidePerLane] = {};
  const int begin = static_cast<int>(blockIdx.x) * rows_per_part, end = min(begin + rows_per_part, rows);
  for (int row = begin; row < end; ++row) {
    __syncthreads();  // everyone is done with the row before
    load_narrow<kWideIsDy>(narrow, g, row / g.height, row % g.height, tile);
    __syncthreads();
    for (int first = warp * kBatch; first < g.width; first += kWarps * kBatch) {
      float pixels[kBatch][kWidePerLane] = {};
#pragma unroll
      for (int i = 0; i < kBatch; ++i)
        if (owner && first + i < g.width)
          load4(wide + (static_cast<int64_t>(row) * g.width + first + i) * g.wide + channel, pixels[i]);
#pragma unroll
      for (int i = 0; i < kBatch; ++i) {
        if (first + i < g.width) add_pixel<kWideIsDy>(pixels[i], tile, columns, first + i, sums);
#pragma unroll
        for (int e = 0; e < kWidePerLane; ++e) of_wide[e] += pixels[i][e];
      }
    }
  }

  for (int turn = 0; turn < kWarps; ++turn) {  // the warps' sums, in order
    if (warp == turn) {
#pragma unroll
      for (int i = 0; i < kTaps * kNarrow; ++i)
#pragma unroll
        for (int e = 0; e < kWidePerLane; ++e) {
          const float sum = sums[i / kNarrow][i % kNarrow][e];
          total[i][channel + e] = turn == 0 ? sum : total[i][channel + e] + sum;
        }
#pragma unroll
      for (int e = 0; e < kWidePerLane; ++e) {
        float& sum = total[kTaps * kNarrow][channel + e];
        sum = turn == 0 ? of_wide[e] : sum + of_wide[e];
      }
    }
    __syncthreads();
  }
  float* const part = to.dw_of(static_cast<int>(blockIdx.x));
  for (int id = static_cast<int>(threadIdx.x); id < kTaps * g.narrow * g.wide; id += kThreads) {
    // id counts through dw [K,taps,C]
    const int inner = kWideIsDy ? g.narrow : g.wide, c = id % inner, tap = id / inner % kTaps,
              k = id / inner / kTaps;
    part[id] = kWideIsDy ? total[tap * kNarrow + c][k] : total[tap * kNarrow + k][c];
  }
  if (!to.dbias) return;
  if constexpr (kWideIsDy) {
    const int k = static_cast<int>(threadIdx.x);
    if (k < g.wide) to.put_bias(static_cast<int>(blockIdx.x), 0, k, total[kTaps * kNarrow][k]);
  } else {
    sum_narrow(narrow, rows / g.height * g.narrow_height * g.narrow_width, g.narrow, total[kTaps * kNarrow],
               to);
  }
}

Images images(ConstTensorRef wide, ConstTensorRef narrow, const Conv2dGeometry& g) {
  const auto extent = [](const ConstTensorRef& t, int i) { return static_cast<int>(t.shape[i]); };
  return {extent(wide, 1),
          extent(wide, 2),
          extent(narrow, 1),
          extent(narrow, 2),
          extent(wide, 3),
          extent(narrow, 3),
          g.top,
          g.left};
}

}  // namespace

template <class T>
bool conv2d_narrow(const Gpu& gpu, const Concat& x, ConstTensorRef w, const Conv2dGeometry& g,
                   ConstTensorRef y, const ForwardOut<T>& out) {
  const int run = narrow_run(gpu, x, w, g, y);
  if (run == 0) return false;
  launch(conv2d_to_narrow<T>,
         {.grid = blocks_for(out.lines, run * kWarps), .block = kThreads, .stream = gpu.stream}, x.a.as<T>(),
         w.as<T>(), images(x.a, y, g), run, out);
  return true;
}
template bool conv2d_narrow(const Gpu&, const Concat&, ConstTensorRef, const Conv2dGeometry&, ConstTensorRef,
                            const ForwardOut<float>&);
template bool conv2d_narrow(const Gpu&, const Concat&, ConstTensorRef, const Conv2dGeometry&, ConstTensorRef,
                            const ForwardOut<__nv_bfloat16>&);

void conv2d_wgrad_narrow(const Gpu& gpu, const Concat& x, ConstTensorRef dy, const Conv2dGeometry& g,
                         const Shape& dw, const WgradTarget& to, int parts) {
  dispatch_float(dy.dtype, "conv2d_wgrad", [&](auto element) {
    using T = decltype(element);
    const bool wide_is_dy = !suits_narrow(x.a, dy, g, dw);
    const ConstTensorRef wide = wide_is_dy ? dy : x.a, narrow = wide_is_dy ? x.a : dy;
    const Images plan = images(wide, narrow, g);
    const int rows = static_cast<int>(wide.shape[0]) * plan.height;
    launch(wide_is_dy ? conv2d_wgrad_around<true, T> : conv2d_wgrad_around<false, T>,
           {.grid = static_cast<unsigned>(parts),
            .block = kThreads,
            .shared_bytes = kFilter * (static_cast<size_t>(plan.width) + kFilter - 1) * sizeof(float4),
            .stream = gpu.stream},
           wide.as<T>(), narrow.as<T>(), plan, rows, (rows + parts - 1) / parts, to);
  });
}

}  // namespace imago::IMAGO_CUDA_NAMESPACE
