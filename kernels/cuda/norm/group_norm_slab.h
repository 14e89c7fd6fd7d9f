// Where a block of GroupNorm's kernels stands in an NHWC tensor that group_norm_tiling.h has shared out, and
// their one reduction.
//
// A block takes a slab of several groups side by side and a chunk of the pixels. Its 256 threads stand in a
// grid: `columns` along the channels, kWidth channels each, and `rows` along the pixels. All sums are first
// over pixels, per channel, by a tree over the rows; then over the channels of a group, in order: one code
// for every C/G, and one order of summation.
#pragma once

#include "kernels/backend.h"
#include "kernels/cuda/device/vec.h"
#include "kernels/cuda/norm/group_norm_tiling.h"
#include "kernels/cuda/runtime/autotune.h"
#include "kernels/cuda/runtime/gpu.h"

namespace imago::IMAGO_CUDA_NAMESPACE {

/// One block for every slab, chunk and image.
inline LaunchConfig slab_config(const Gpu& gpu, const Slabs& s, int64_t images, size_t shared_floats) {
  return {.grid = dim3(static_cast<unsigned>(s.slabs()), static_cast<unsigned>(s.chunks),
                       static_cast<unsigned>(images)),
          .block = kSlabThreads,
          .shared_bytes = shared_floats * sizeof(float),
          .stream = gpu.stream};
}

/// What the choice of slabs and chunks depends on.
inline ChoiceKey group_norm_key(TunedOp op, const Concat& x, const GroupNormConfig& config,
                                ConstTensorRef scale_shift, bool eights, int so_far = 0) {
  const int64_t images = x.a.shape[0], channels_a = x.a.shape[-1];
  return {op,
          x.a.dtype,
          {images, x.a.numel() / (images * channels_a), channels_a, x.channels() - channels_a, config.groups,
           scale_shift ? 1 : 0, eights, so_far}};
}

/// Where the calling thread stands.
struct Place {
  int image, chunk_index;
  int first_channel, end_channel;  // of the slab
  int first_pixel, end_pixel;      // of the chunk
  int column, row;                 // in the block's grid of threads

  __device__ explicit Place(const Slabs& s)
      : image(static_cast<int>(blockIdx.z)),
        chunk_index(static_cast<int>(blockIdx.y)),
        first_channel(static_cast<int>(blockIdx.x) * s.slab),
        end_channel(min(first_channel + s.slab, s.channels)),
        first_pixel(chunk_index * s.chunk),
        end_pixel(min(first_pixel + s.chunk, s.pixels)),
        column(static_cast<int>(threadIdx.x) % s.columns),
        row(static_cast<int>(threadIdx.x) / s.columns) {}
};

/// kWidth = 8 (aligned, channel counts in eights) or 1.
template <int kWidth, class T>
__device__ __forceinline__ void load_width(const T* p, float (&v)[kWidth]) {
  if constexpr (kWidth == 8)
    load8(p, v);
  else
    v[0] = to_float(*p);
}
template <int kWidth, class T>
__device__ __forceinline__ void store_width(T* p, const float (&v)[kWidth]) {
  if constexpr (kWidth == 8)
    store8(p, v);
  else
    *p = from_float<T>(v[0]);
}

/// kWidth channels of one pixel.
template <int kWidth>
struct Values {
  float v[kWidth];
};

/// The same channels of one pixel after the other: those of pixel p begin at data + p * stride.
template <class T>
struct Column {
  T* data;
  int stride;
  __device__ __forceinline__ T* at(int p) const { return data + static_cast<int64_t>(p) * stride; }
};

/// Two tensors side by side along the channels. A width never crosses from one to the other.
template <class T>
struct Sides {
  T *a, *b;
  int channels_a, channels_b;

  template <class Ref>
  Sides(const BasicConcat<Ref>& x)
      : a(x.a.template as<std::remove_const_t<T>>()),
        b(x.b.template as<std::remove_const_t<T>>()),
        channels_a(static_cast<int>(x.a.shape[-1])),
        channels_b(static_cast<int>(x.channels()) - channels_a) {}
  /// Sources of x that may be absent, cut like those of `like`.
  Sides(const Concat& x, const ConcatOut& like)
      : a(x.a.as<std::remove_const_t<T>>()),
        b(x.b.as<std::remove_const_t<T>>()),
        channels_a(static_cast<int>(like.a.shape[-1])),
        channels_b(static_cast<int>(like.channels()) - channels_a) {}
  __device__ __forceinline__ bool has(int c) const { return (c < channels_a ? a : b) != nullptr; }
  /// From `first_pixel` on, at channel c, which is there.
  __device__ __forceinline__ Column<T> column(int64_t first_pixel, int c) const {
    return c < channels_a ? Column<T>{a + first_pixel * channels_a + c, channels_a}
                          : Column<T>{b + first_pixel * channels_b + (c - channels_a), channels_b};
  }
};

/// For every channel c of the slab and each of kSums sums: totals[k][c] = sum over the chunk's pixels of its
/// terms. `tree` [kWidth * 256] and the totals [slab] are shared memory. `make_terms(c)` gives what knows
/// channels c .. c + kWidth: its load(p) reads a pixel, its add(read, sum) adds that pixel's terms. kInFlight
/// pixels are read before the first of them is added, in the same order.
template <int kWidth, int kSums, int kInFlight, class MakeTerms>
__device__ __forceinline__ void sum_over_pixels(const Slabs& s, const Place& at, float* tree,
                                                float* const (&totals)[kSums], MakeTerms&& make_terms) {
  const int thread = static_cast<int>(threadIdx.x);
  for (int first = at.first_channel; first < at.end_channel;
       first += s.columns * kWidth) {  // once, but for huge groups
    const int c = first + at.column * kWidth;
    float sum[kSums][kWidth] = {};
    if (c < at.end_channel) {
      const auto terms = make_terms(c);
      int p = at.first_pixel + at.row;
      for (; p + (kInFlight - 1) * s.rows < at.end_pixel; p += kInFlight * s.rows) {
        decltype(terms.load(p)) read[kInFlight];
#pragma unroll
        for (int i = 0; i < kInFlight; ++i) read[i] = terms.load(p + i * s.rows);
#pragma unroll
        for (int i = 0; i < kInFlight; ++i) terms.add(read[i], sum);
      }
      for (; p < at.end_pixel; p += s.rows) terms.add(terms.load(p), sum);
    }
#pragma unroll
    for (int k = 0; k < kSums; ++k) {
#pragma unroll
      for (int e = 0; e < kWidth; ++e) tree[e * kSlabThreads + thread] = sum[k][e];
      __syncthreads();
      for (int half = s.rows / 2; half > 0; half /= 2) {
        if (at.row < half) {
#pragma unroll
          for (int e = 0; e < kWidth; ++e)
            tree[e * kSlabThreads + thread] += tree[e * kSlabThreads + thread + half * s.columns];
        }
        __syncthreads();
      }
      if (at.row == 0 && c < at.end_channel) {
#pragma unroll
        for (int e = 0; e < kWidth; ++e)
          totals[k][c - at.first_channel + e] = tree[e * kSlabThreads + thread];
      }
      __syncthreads();
    }
  }
}

}  // namespace imago::IMAGO_CUDA_NAMESPACE
