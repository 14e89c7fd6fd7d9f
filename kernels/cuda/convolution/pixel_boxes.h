// How Hopper's copy engine (TMA) cuts images into boxes of pixels.
//
// A tensor [N,H,W,C] is four dimensions to TMA; a box is 64 channels of 2^log_w x 2^log_h pixels of a few
// images. What lies outside of the tensor arrives as zeros: that is the padding of a convolution, and its
// tails, for free.
#pragma once

#include "kernels/cuda/runtime/gpu_limits.h"

namespace imago::tiling {

constexpr int kBlock = 64;  // channels of a box: 128 bytes, one row of the 128-byte swizzle
constexpr int kRowBytes = 128;
constexpr int kWarpgroup = 128;  // threads

/// The boxes of pixels that tile an output of [N,H,W].
struct BoxShape {
  int log_w = 0, log_h = 0, images = 1;      // a box: 2^log_w x 2^log_h pixels of `images` images
  int halo = 0;                              // rows more than that in every image of a box: R - 1, or 0
  int64_t boxes_across = 1, boxes_down = 1;  // of one image
  int64_t count = 0;

  constexpr int rows() const { return (1 << log_h) + halo; }  // of one image in a box
  constexpr int lines() const { return (rows() << log_w) * images; }
  constexpr int bytes() const { return lines() * kRowBytes; }
};

/// The boxes of `pixels` pixels (a power of two) that cover [N,H,W] with the fewest, and among those with the
/// least to load. With R > 1 rows of taps, a box of R - 1 rows more serves all R taps of a column from one
/// load; that takes boxes whose rows are multiples of eight lines (the swizzle's period) and whose images
/// are multiples of `unit` pixels.
inline BoxShape choose_boxes(int pixels, int64_t n, int64_t h, int64_t w, int filter_height, int unit,
                             int most_bytes) {
  BoxShape best;
  int64_t best_loads = 0;
  for (int log_w = 0; 1 << log_w <= pixels; ++log_w)
    for (int log_h = 0; 1 << (log_w + log_h) <= pixels; ++log_h)
      for (int halo : {filter_height - 1, 0}) {
        BoxShape b;
        b.log_w = log_w, b.log_h = log_h, b.images = pixels >> (log_w + log_h), b.halo = halo;
        if (halo && (log_w < 3 || 1 << (log_w + log_h) < unit)) continue;
        if (b.bytes() > most_bytes || b.images > 256 || b.rows() > 256) continue;
        b.boxes_across = ceil_div(w, 1 << log_w), b.boxes_down = ceil_div(h, 1 << log_h);
        b.count = b.boxes_across * b.boxes_down * ceil_div(n, b.images);
        const int64_t loads = b.count * b.lines() * (halo ? 1 : filter_height);
        if (best.count && (b.count > best.count || (b.count == best.count && loads >= best_loads))) continue;
        best = b, best_loads = loads;
      }
  return best;
}

}  // namespace imago::tiling
