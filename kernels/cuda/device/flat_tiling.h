// How kernels that pass over memory once share it out: elementwise operations, the
// optimizer, sums of columns.
#pragma once

#include <algorithm>

#include "kernels/cuda/runtime/gpu_limits.h"

namespace imago::tiling {

constexpr int kFlatThreads = 256;
constexpr int kFlatElements = 8;    // of a thread: sixteen bytes or more an access
constexpr int kUpdateElements = 4;  // of a thread in adamw: more would spill registers
constexpr int kEmbeddingThreads = 128;
constexpr int kNormPieces = 1024;  // blocks of the gradient norm: a few waves on any GPU

/// per_image_bias_grad: a block sums one slab of one image's pixels for 256 channels.
struct BiasSlabs {
  static constexpr int kChannels = 256;
  int64_t groups;       // of 256 channels
  int64_t slabs, slab;  // an image; pixels of each

  /// Four blocks a multiprocessor, at least 64 pixels each.
  BiasSlabs(const GpuLimits& gpu, int64_t images, int64_t pixels, int64_t channels)
      : groups(ceil_div(channels, kChannels)) {
    const int64_t wanted = ceil_div(4 * gpu.sms, images * groups);
    slabs = std::clamp<int64_t>(wanted, 1, std::max<int64_t>(pixels / 64, 1));
    slab = ceil_div(std::max<int64_t>(pixels, 1), slabs);
  }
};

}  // namespace imago::tiling
