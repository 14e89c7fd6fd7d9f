// How GroupNorm's kernels share out an NHWC tensor.
//
// A group is C/G neighbouring channels of all pixels of a picture: a few bytes a pixel, strided. So a block
// takes a *slab*, several groups side by side (64 bytes a pixel where it can), and a *chunk* of the pixels,
// all of them if there are enough slabs and pictures to fill the GPU.
#pragma once

#include <algorithm>
#include <numeric>

#include "kernels/cuda/tiling/gpu_limits.h"

namespace imago::tiling {

constexpr int kSlabThreads = 256;

/// The geometry, the same for all blocks of a launch. Grid: x = slabs, y = chunks, z = pictures.
struct Slabs {
  int channels_a, channels_b;  // of the two sources
  int channels, per_group;     // C, C/G
  int slab;                    // channels of a slab: whole groups; a multiple of the width
  int columns, rows;           // of the block's threads; powers of two
  int pixels, chunk;           // of a picture; of a block
  int chunks;

  Slabs(const GpuLimits& gpu, const Shape& x, int64_t second_source, int groups, int width) {
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
  constexpr int slabs() const { return (channels + slab - 1) / slab; }
  int groups() const { return channels / per_group; }
  int groups_per_slab() const { return slab / per_group; }
};

/// Whether both sources can be accessed eight channels at a time.
template <class Ref>
bool in_eights(const BasicConcat<Ref>& x) {
  return x.a.shape[-1] % 8 == 0 && (!x.b || x.b.shape[-1] % 8 == 0) && aligned16(x.a.data) &&
         aligned16(x.b.data);
}

}  // namespace imago::tiling
