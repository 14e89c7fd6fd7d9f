// GroupNorm backward, for the fused forward of group_norm.cu. With u = xhat gamma + beta, h = u (1 + scale) +
// shift and dh = dy activation'(h), everything follows from two sums per image and channel,
//   A[n,c] = sum_p dh,   B[n,c] = sum_p dh xhat:
//   dshift = A, dscale = gamma B + beta A, dbeta += sum_n (1 + scale) A, dgamma += sum_n (1 + scale) B, and
//   with S = sum over a group's channels of gamma (1 + scale) A, Q the same of B, M elements a group:
//   dx = so_far + rstd (gamma (1 + scale) dh - S / M - xhat Q / M).
//
// x [N,P,C], dx and so_far in one or two sources, dy [N,P,C], statistics [N,G,2], scale_shift [N,2C].
//
// The idea: as forward, a block that holds all pixels of its groups reads x and dy twice, the second time
// from L1/L2, and recomputes xhat and dh instead of storing them. With chunks, a first launch leaves the
// chunks' sums behind and a second adds them up, in order. A last small launch adds over the images: 32
// rows of threads take every 32nd image and meet in shared memory, in order: no atomics.
//
// Cost: reads x, dy and so_far once, writes dx once: at 32x32x128, N = 128, bfloat16 101 MB, 34 us at 3 TB/s
// (without so_far). The last launch: four loads from L2 one after the other, and a start, about 2 us.
#include "kernels/cuda/device/vec.h"
#include "kernels/cuda/norm/group_norm_slab.h"
#include "kernels/cuda/runtime/cuda_backend.h"

namespace imago::IMAGO_CUDA_NAMESPACE {
namespace {

template <class T>
struct Backward {
  Slabs s;
  Sides<const T> x;
  Sides<const T> so_far;  // sources may be null
  Sides<T> dx;
  const T* dy;
  const float *gamma, *beta, *statistics;
  const T* scale_shift;  // may be null
  float* sums;           // [N,chunks,C,2] = (A, B) of a chunk
  bool silu;
};

/// What a thread knows of its kWidth channels of one image, and dh and xhat of their elements.
template <int kWidth, class T>
struct Channels {
  Column<const T> x, dy;
  bool silu;
  float mean[kWidth], rstd[kWidth];
  float gain[kWidth], offset[kWidth];  // h = xhat gain + offset: gamma (1 + scale), beta (1 + scale) + shift

  __device__ __forceinline__ Channels(const Backward<T>& b, int image, int c)
      : x(b.x.column(static_cast<int64_t>(image) * b.s.pixels, c)),
        dy{b.dy + static_cast<int64_t>(image) * b.s.pixels * b.s.channels + c, b.s.channels},
        silu(b.silu) {
    const int64_t groups = b.s.channels / b.s.per_group;
    for (int e = 0; e < kWidth; ++e) {
      const float* moments = b.statistics + (image * groups + (c + e) / b.s.per_group) * 2;
      mean[e] = moments[0];
      rstd[e] = moments[1];
      gain[e] = b.gamma[c + e];
      offset[e] = b.beta[c + e];
      if (b.scale_shift) {
        const T* row = b.scale_shift + static_cast<int64_t>(image) * 2 * b.s.channels;
        const float scale = 1.0f + to_float(row[c + e]);
        gain[e] *= scale;
        offset[e] = offset[e] * scale + to_float(row[b.s.channels + c + e]);
      }
    }
  }

  struct Read {
    float x[kWidth], dy[kWidth];
  };
  __device__ __forceinline__ Read load(int p) const {
    Read read;
    load_width<kWidth>(x.at(p), read.x);
    load_width<kWidth>(dy.at(p), read.dy);
    return read;
  }
  __device__ __forceinline__ void derive(const Read& read, float (&dh)[kWidth], float (&xhat)[kWidth]) const {
#pragma unroll
    for (int e = 0; e < kWidth; ++e) {
      xhat[e] = (read.x[e] - mean[e]) * rstd[e];
      dh[e] = read.dy[e];
    }
    if (!silu) return;  // once a pixel, not once an element
#pragma unroll
    for (int e = 0; e < kWidth; ++e) {
      const float h = xhat[e] * gain[e] + offset[e], s = sigmoid(h);
      dh[e] *= s * (1.0f + h * (1.0f - s));
    }
  }
  __device__ __forceinline__ void add(const Read& read, float (&sum)[2][kWidth]) const {
    float dh[kWidth], xhat[kWidth];
    derive(read, dh, xhat);
#pragma unroll
    for (int e = 0; e < kWidth; ++e) {
      sum[0][e] += dh[e];
      sum[1][e] += dh[e] * xhat[e];
    }
  }
};

/// A and B of the slab's channels over the chunk, to shared memory.
template <int kWidth, class T>
__device__ __forceinline__ void chunk_sums(const Backward<T>& b, const Place& at, float* tree, float* sum_a,
                                           float* sum_b) {
  constexpr int kInFlight = 1;  // x and dy; the branch of SiLU stands in front of a second pixel's
  sum_over_pixels<kWidth, 2, kInFlight>(b.s, at, tree, {sum_a, sum_b},
                                        [&](int c) { return Channels<kWidth, T>(b, at.image, c); });
}

/// dx of the slab's chunk, with A and B of its channels over the whole image in shared memory.
template <int kWidth, class T>
__device__ __forceinline__ void data_gradient(const Backward<T>& b, const Place& at, const float* sum_a,
                                              const float* sum_b, float* mean_s, float* mean_q) {
  const Slabs& s = b.s;
  const int groups = (at.end_channel - at.first_channel) / s.per_group;
  const float count = static_cast<float>(s.pixels) * static_cast<float>(s.per_group);
  for (int g = static_cast<int>(threadIdx.x); g < groups; g += kSlabThreads) {
    float sum_s = 0.0f, sum_q = 0.0f;
    for (int i = g * s.per_group; i < (g + 1) * s.per_group; ++i) {
      const int c = at.first_channel + i;
      const T* row = b.scale_shift + static_cast<int64_t>(at.image) * 2 * s.channels;
      const float weight = b.gamma[c] * (b.scale_shift ? 1.0f + to_float(row[c]) : 1.0f);
      sum_s += weight * sum_a[i];
      sum_q += weight * sum_b[i];
    }
    mean_s[g] = sum_s / count;
    mean_q[g] = sum_q / count;
  }
  __syncthreads();
  for (int c = at.first_channel + at.column * kWidth; c < at.end_channel; c += s.columns * kWidth) {
    const Channels<kWidth, T> known(b, at.image, c);
    const int64_t first = static_cast<int64_t>(at.image) * s.pixels;
    const Column<T> dx = b.dx.column(first, c);
    const bool adds = b.so_far.has(c);
    const Column<const T> so_far = adds ? b.so_far.column(first, c) : Column<const T>{};
    float s_mean[kWidth], q_mean[kWidth];  // of each channel's group: no division in the loop
    for (int e = 0; e < kWidth; ++e) {
      const int g = (c + e - at.first_channel) / s.per_group;
      s_mean[e] = mean_s[g];
      q_mean[e] = mean_q[g];
    }
    for (int p = at.first_pixel + at.row; p < at.end_pixel; p += s.rows) {
      float dh[kWidth], xhat[kWidth], sum[kWidth] = {};
      known.derive(known.load(p), dh, xhat);
      if (adds) load_width<kWidth>(so_far.at(p), sum);
#pragma unroll
      for (int e = 0; e < kWidth; ++e)
        sum[e] += known.rstd[e] * (known.gain[e] * dh[e] - s_mean[e] - xhat[e] * q_mean[e]);
      store_width<kWidth>(dx.at(p), sum);
    }
  }
}

/// The chunk's A and B to memory and, where the chunk is the image (kWhole), dx as well.
template <int kWidth, bool kWhole, class T>
__global__ void __launch_bounds__(kSlabThreads) group_norm_sums_kernel(const Backward<T> b) {
  IMAGO_DYNAMIC_SHARED(shared);
  float* const tree = reinterpret_cast<float*>(shared);  // [kWidth * 256]
  float* const sum_a = tree + kWidth * kSlabThreads;     // [slab]
  float* const sum_b = sum_a + b.s.slab;                 // [slab]
  float* const mean_s = sum_b + b.s.slab;                // [groups of the slab]
  float* const mean_q = mean_s + b.s.slab / b.s.per_group;
  const Place at(b.s);
  chunk_sums<kWidth>(b, at, tree, sum_a, sum_b);
  float* const out =
      b.sums + (static_cast<int64_t>(at.image) * b.s.chunks + at.chunk_index) * b.s.channels * 2;
  for (int c = at.first_channel + static_cast<int>(threadIdx.x); c < at.end_channel; c += kSlabThreads) {
    out[2 * c] = sum_a[c - at.first_channel];
    out[2 * c + 1] = sum_b[c - at.first_channel];
  }
  if constexpr (kWhole) data_gradient<kWidth>(b, at, sum_a, sum_b, mean_s, mean_q);
}

/// (A, B) of image n and channel c: the chunks in order.
__device__ __forceinline__ float2 merged_sums(const Slabs& s, const float* sums, int64_t n, int c) {
  float2 sum = make_float2(0.0f, 0.0f);
  for (int k = 0; k < s.chunks; ++k) {
    const float2 part = *reinterpret_cast<const float2*>(sums + ((n * s.chunks + k) * s.channels + c) * 2);
    sum.x += part.x;
    sum.y += part.y;
  }
  return sum;
}

template <int kWidth, class T>
__global__ void __launch_bounds__(kSlabThreads) group_norm_dx_kernel(const Backward<T> b) {
  IMAGO_DYNAMIC_SHARED(shared);
  float* const sum_a = reinterpret_cast<float*>(shared);  // [slab]
  float* const sum_b = sum_a + b.s.slab;                  // [slab]
  float* const mean_s = sum_b + b.s.slab;                 // [groups of the slab]
  float* const mean_q = mean_s + b.s.slab / b.s.per_group;
  const Place at(b.s);
  for (int c = at.first_channel + static_cast<int>(threadIdx.x); c < at.end_channel; c += kSlabThreads) {
    const float2 sums = merged_sums(b.s, b.sums, at.image, c);
    sum_a[c - at.first_channel] = sums.x;
    sum_b[c - at.first_channel] = sums.y;
  }
  __syncthreads();
  data_gradient<kWidth>(b, at, sum_a, sum_b, mean_s, mean_q);
}

/// dgamma, dbeta over the images, in a fixed order, and dscale_shift [N,2C] on the way. Any may be null. A
/// block: 32 channels; every row of its threads sums each kParameterRows-th image, the first row the rows.
template <class T>
__global__ void __launch_bounds__(kParameterThreads)
    group_norm_parameters_kernel(const Backward<T> b, const int images, float* dgamma, float* dbeta,
                                 T* dscale_shift) {
  IMAGO_SHARED(float2, rows, [kParameterRows][kParameterChannels]);  // (dbeta, dgamma)
  const int lane = static_cast<int>(threadIdx.x) % kParameterChannels;
  const int first = static_cast<int>(threadIdx.x) / kParameterChannels;
  const int c = static_cast<int>(blockIdx.x) * kParameterChannels + lane;
  const bool inside = c < b.s.channels;
  float2 sum = make_float2(0.0f, 0.0f);
  for (int64_t n = first; inside && n < images; n += kParameterRows) {
    const float2 sums = merged_sums(b.s, b.sums, n, c);
    const int64_t row = n * 2 * b.s.channels;
    const float scale = b.scale_shift ? 1.0f + to_float(b.scale_shift[row + c]) : 1.0f;
    sum.x += scale * sums.x;
    sum.y += scale * sums.y;
    if (dscale_shift) {
      dscale_shift[row + c] = from_float<T>(b.gamma[c] * sums.y + b.beta[c] * sums.x);
      dscale_shift[row + b.s.channels + c] = from_float<T>(sums.x);
    }
  }
  rows[first][lane] = sum;
  __syncthreads();
  if (first > 0 || !inside) return;
#pragma unroll 4
  for (int r = 1; r < kParameterRows; ++r) {
    sum.x += rows[r][lane].x;
    sum.y += rows[r][lane].y;
  }
  if (dbeta) dbeta[c] += sum.x;
  if (dgamma) dgamma[c] += sum.y;
}

template <int kWidth, class T>
void launch_backward(const Gpu& gpu, const Backward<T>& b, int64_t images) {
  const size_t results = static_cast<size_t>(2 * b.s.slab + 2 * b.s.groups_per_slab());
  const LaunchConfig sums =
      slab_config(gpu, b.s, images, static_cast<size_t>(kWidth * kSlabThreads) + results);
  if (b.s.chunks == 1) {
    launch(group_norm_sums_kernel<kWidth, true, T>, sums, b);
  } else {
    launch(group_norm_sums_kernel<kWidth, false, T>, sums, b);
    launch(group_norm_dx_kernel<kWidth, T>, slab_config(gpu, b.s, images, results), b);
  }
}

}  // namespace

void CudaBackend::group_norm_backward(ConstTensorRef dy, const Concat& x, ConstTensorRef gamma,
                                      ConstTensorRef beta, ConstTensorRef scale_shift,
                                      ConstTensorRef statistics, const GroupNormConfig& config,
                                      const Concat& so_far, const ConcatOut& dx, TensorRef dgamma,
                                      TensorRef dbeta, TensorRef dscale_shift, Workspace& workspace) {
  if (dy.numel() == 0) return;
  const bool eights = in_eights(x) && in_eights(dx) && aligned16(dy.data) && aligned16(so_far.a.data) &&
                      aligned16(so_far.b.data);
  const int width = eights ? 8 : 1;
  const int64_t images = dy.shape[0], channels = x.channels(), second_source = channels - x.a.shape[-1];
  const auto candidates = [&] {
    return group_norm_candidates(gpu_, x.a.shape, second_source, config.groups, width);
  };
  const auto bytes = [&](Choice c, Purpose) {
    return static_cast<size_t>(images * c.parts * channels * 2) * sizeof(float);
  };
  dispatch_float(dy.dtype, "group_norm_backward", [&](auto t) {
    using T = decltype(t);
    const auto run = [&](Choice c, Purpose purpose, void* sums) {
      const Backward<T> b{Slabs(x.a.shape, second_source, config.groups, width, c),
                          x,
                          {so_far, dx},
                          dx,
                          dy.as<T>(),
                          gamma.as<float>(),
                          beta.as<float>(),
                          statistics.as<float>(),
                          scale_shift.as<T>(),
                          static_cast<float*>(sums),
                          config.activation == Activation::kSilu};
      eights ? launch_backward<8>(gpu_, b, images) : launch_backward<1>(gpu_, b, images);
      const bool adds = purpose == Purpose::kResult;
      launch(group_norm_parameters_kernel<T>,
             {.grid = blocks_for(channels, kParameterChannels),
              .block = kParameterThreads,
              .stream = gpu_.stream},
             b, static_cast<int>(images), adds ? dgamma.as<float>() : nullptr,
             adds ? dbeta.as<float>() : nullptr, dscale_shift.as<T>());
    };
    const ChoiceKey key =
        group_norm_key(TunedOp::kGroupNormBackward, x, config, scale_shift, eights, sources_there(so_far));
    run_fastest(gpu_, key, workspace, candidates, bytes, run);
  });
}

}  // namespace imago::IMAGO_CUDA_NAMESPACE
