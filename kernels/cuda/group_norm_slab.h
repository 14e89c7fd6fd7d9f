// How GroupNorm's kernels share out an NHWC tensor, and their one reduction.
//
// A group is C/G neighbouring channels of all pixels of a picture: a few bytes a pixel, strided. So a block
// takes a *slab*, several groups side by side (64 bytes a pixel where it can), and a *chunk* of the pixels,
// all of them if there are enough slabs and pictures to fill the GPU. Its 256 threads stand in a grid:
// `columns` along the channels, kWidth channels each, and `rows` along the pixels. All sums are first over
// pixels, per channel, by a tree over the rows; then over the channels of a group, in order: one code for
// every C/G, and one order of summation.
#pragma once

#include <algorithm>
#include <numeric>

#include "kernels/backend.h"
#include "kernels/cuda/gpu.h"
#include "kernels/cuda/vec.h"

namespace imago::IMAGO_CUDA_NAMESPACE {

constexpr int kSlabThreads = 256;

/// The geometry, the same for all blocks of a launch. Grid: x = slabs, y = chunks, z = pictures.
struct Slabs {
  int channels_a, channels_b;  // of the two sources
  int channels, per_group;     // C, C/G
  int slab;                    // channels of a slab: whole groups; a multiple of the width
  int columns, rows;           // of the block's threads; powers of two
  int pixels, chunk;           // of a picture; of a block
  int chunks;

  Slabs(const Gpu& gpu, const Shape& x, int64_t second_source, int groups, int width) {
    const int64_t pictures = x[0], p = pictures ? x.numel() / (pictures * x[-1]) : 0;
    check(p < (int64_t{1} << 31) && pictures <= 65535, "group_norm: ", x.to_string(),
          " is more than a launch can hold");
    channels_a = static_cast<int>(x[-1]);
    channels_b = static_cast<int>(second_source);
    channels = channels_a + channels_b;
    per_group = channels / groups;
    pixels = static_cast<int>(p);
    const int step = width / std::gcd(width, per_group);  // groups that make up whole widths
    slab = std::max(32 / (per_group * step), 1) * per_group * step;
    slab = std::min(slab, channels);
    columns = 1;
    while (columns < slab / width && columns < kSlabThreads) columns *= 2;
    rows = kSlabThreads / columns;
    // Chunks only where pictures and slabs leave multiprocessors idle; a chunk keeps every thread busy for a
    // while.
    const int64_t blocks = std::max<int64_t>(1, pictures * slabs());
    chunks = static_cast<int>(std::clamp<int64_t>(2 * gpu.sms / blocks, 1, std::max(1, pixels / (8 * rows))));
    chunk = (pixels + chunks - 1) / std::max(chunks, 1);
    chunks = chunk ? (pixels + chunk - 1) / chunk : 1;
  }
  __host__ __device__ int slabs() const { return (channels + slab - 1) / slab; }
  int groups() const { return channels / per_group; }
  int groups_per_slab() const { return slab / per_group; }

  LaunchConfig config(const Gpu& gpu, int64_t pictures, size_t shared_floats) const {
    return {.grid = dim3(static_cast<unsigned>(slabs()), static_cast<unsigned>(chunks),
                         static_cast<unsigned>(pictures)),
            .block = kSlabThreads,
            .shared_bytes = shared_floats * sizeof(float),
            .stream = gpu.stream};
  }
};

/// Where the calling thread stands.
struct Place {
  int picture, chunk_index;
  int first_channel, end_channel;  // of the slab
  int first_pixel, end_pixel;      // of the chunk
  int column, row;                 // in the block's grid of threads

  __device__ explicit Place(const Slabs& s)
      : picture(static_cast<int>(blockIdx.z)),
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
  /// From `first_pixel` on, at channel c.
  __device__ __forceinline__ Column<T> column(int64_t first_pixel, int c) const {
    return c < channels_a ? Column<T>{a + first_pixel * channels_a + c, channels_a}
                          : Column<T>{b + first_pixel * channels_b + (c - channels_a), channels_b};
  }
};

template <class Ref>
bool in_eights(const BasicConcat<Ref>& x) {
  return x.a.shape[-1] % 8 == 0 && (!x.b || x.b.shape[-1] % 8 == 0) && aligned16(x.a.data) &&
         aligned16(x.b.data);
}

/// For every channel c of the slab and each of kSums sums: totals[k][c] = sum over the chunk's pixels of its
/// terms. `tree` [kWidth * 256] and the totals [slab] are shared memory. `make_term(c)` gives the function of
/// a pixel that adds the terms of channels c .. c + kWidth to its second argument.
template <int kWidth, int kSums, class MakeTerm>
__device__ __forceinline__ void sum_over_pixels(const Slabs& s, const Place& at, float* tree,
                                                float* const (&totals)[kSums], MakeTerm&& make_term) {
  const int thread = static_cast<int>(threadIdx.x);
  for (int first = at.first_channel; first < at.end_channel;
       first += s.columns * kWidth) {  // once, but for huge groups
    const int c = first + at.column * kWidth;
    float sum[kSums][kWidth] = {};
    if (c < at.end_channel) {
      const auto add_terms = make_term(c);
      for (int p = at.first_pixel + at.row; p < at.end_pixel; p += s.rows) add_terms(p, sum);
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
