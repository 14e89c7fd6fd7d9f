// How GroupNorm's kernels share out an NHWC tensor.
//
// A group is C/G neighbouring channels of all pixels of an image: a few bytes a pixel, strided. So a block
// takes a *slab*, several groups side by side (64 bytes a pixel where it can), and a *chunk* of the pixels,
// all of them if there are enough slabs and images to fill the GPU.
#pragma once

#include <algorithm>
#include <numeric>

#include "kernels/cuda/runtime/choice.h"
#include "kernels/cuda/runtime/gpu_limits.h"

namespace imago::tiling {

constexpr int kSlabThreads = 256;

/// The parameters' gradients, sums over images: a block's threads stand in rows of 32 channels.
constexpr int kParameterChannels = 32, kParameterRows = 32;
constexpr int kParameterThreads = kParameterChannels * kParameterRows;

/// The geometry, the same for all blocks of a launch. Grid: x = slabs, y = chunks, z = images.
struct Slabs {
  int channels_a, channels_b;  // of the two sources
  int channels, per_group;     // C, C/G
  int slab;                    // channels of a slab: whole groups; a multiple of the width
  int columns, rows;           // of the block's threads; powers of two
  int pixels, chunk;           // of an image; of a block
  int chunks;

  /// x: the first source [N,...,C]; width: channels of one access. In slabs of kSlab32 or kSlab64, of
  /// `choice.parts` chunks.
  Slabs(const Shape& x, int64_t second_source, int groups, int width, Choice choice) {
    const int64_t images = x[0], p = images ? x.numel() / (images * x[-1]) : 0;
    check(p < (int64_t{1} << 31) && images <= 65535, "group_norm: ", x, " is more than a launch can hold");
    channels_a = static_cast<int>(x[-1]);
    channels_b = static_cast<int>(second_source);
    channels = channels_a + channels_b;
    per_group = channels / groups;
    pixels = static_cast<int>(p);
    const int step = width / std::gcd(width, per_group);  // groups that make up whole widths
    const int about = choice.kernel == Kernel::kSlab64 ? 64 : 32;
    slab = std::max(about / (per_group * step), 1) * per_group * step;
    slab = std::min(slab, channels);
    columns = 1;
    while (columns < slab / width && columns < kSlabThreads) columns *= 2;
    rows = kSlabThreads / columns;
    chunk = static_cast<int>(ceil_div(pixels, choice.parts));
    chunks = chunk ? static_cast<int>(ceil_div(pixels, chunk)) : 1;
  }
  /// By rule: two blocks for every multiprocessor.
  Slabs(const GpuLimits& gpu, const Shape& x, int64_t second_source, int groups, int width)
      : Slabs(x, second_source, groups, width, {Kernel::kSlab32}) {
    *this = Slabs(x, second_source, groups, width, {Kernel::kSlab32, chunks_for(gpu, 2, x[0])});
  }
  /// Chunks that give every multiprocessor so many blocks: only where images and slabs leave it with less,
  /// and a chunk keeps every thread busy for a while.
  int chunks_for(const GpuLimits& gpu, int blocks, int64_t images) const {
    const int64_t there = std::max<int64_t>(1, images * slabs());
    return static_cast<int>(
        std::clamp<int64_t>(blocks * gpu.sms / there, 1, std::max(1, pixels / (8 * rows))));
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
