// How Hopper's copy engine (TMA) cuts pictures into boxes of pixels, and the rings through which boxes reach
// the tensor cores. Shared by conv2d_hopper.cu and conv2d_wgrad_hopper.cu.
//
// A tensor [N,H,W,C] is four dimensions to TMA; a box is 64 channels of 2^log_w x 2^log_h pixels of a few
// pictures. What lies outside of the tensor arrives as zeros: that is the padding of a convolution, and its
// tails, for free.
#pragma once

#include <algorithm>

#include "kernels/cuda/gpu.h"
#include "kernels/cuda/ptx.h"
#include "kernels/cuda/vec.h"
#include "kernels/tensor_ref.h"

namespace imago::IMAGO_CUDA_NAMESPACE {

constexpr int kBlock = 64;  // channels of a box: 128 bytes, one row of the 128-byte swizzle
constexpr int kRowBytes = 128;
constexpr int kWarpgroup = 128;  // threads

/// A ring of stages between a producer (TMA) and consumers (tensor cores): where it stands, and the parity of
/// the lap.
struct RingPosition {
  int slot = 0;
  unsigned lap = 0;
  __device__ __forceinline__ void advance(int stages) {
    if (++slot == stages) slot = 0, lap ^= 1;
  }
};

/// The boxes of pixels that tile an output of [N,H,W].
struct PixelBoxes {
  int log_w = 0, log_h = 0, pictures = 1;  // a box: 2^log_w x 2^log_h pixels of `pictures` pictures
  int halo = 0;                            // rows more than that in every picture of a box: R - 1, or 0
  Divisor across, down;                    // boxes across and down one picture
  int64_t count = 0;

  __host__ __device__ int rows() const { return (1 << log_h) + halo; }  // of one picture in a box
  __host__ __device__ int lines() const { return (rows() << log_w) * pictures; }
  __host__ __device__ int bytes() const { return lines() * kRowBytes; }

  /// First pixel of box i: column w, row h of picture n.
  __device__ __forceinline__ void origin(int i, int& n, int& h, int& w) const {
    int row;
    across.split(i, row, w);
    down.split(row, n, h);
    n *= pictures, h <<= log_h, w <<= log_w;
  }
  /// The line of shared memory at which pixel q of the box lies (its halo's first row is line 0 of its
  /// picture).
  __device__ __forceinline__ int line(int q) const {
    const int picture = q >> (log_w + log_h);
    return q + ((picture * halo) << log_w);
  }
};

/// The boxes of `pixels` pixels (a power of two) that cover [N,H,W] with the fewest, and among those with the
/// least to load. With R > 1 rows of taps, a box of R - 1 rows more serves all R taps of a column from one
/// load; that takes boxes whose rows are multiples of eight lines (the swizzle's period) and whose pictures
/// are multiples of `unit` pixels.
inline PixelBoxes choose_boxes(int pixels, int64_t n, int64_t h, int64_t w, int filter_height, int unit,
                               int most_bytes) {
  PixelBoxes best;
  int64_t best_loads = 0;
  for (int log_w = 0; 1 << log_w <= pixels; ++log_w)
    for (int log_h = 0; 1 << (log_w + log_h) <= pixels; ++log_h)
      for (int halo : {filter_height - 1, 0}) {
        PixelBoxes b;
        b.log_w = log_w, b.log_h = log_h, b.pictures = pixels >> (log_w + log_h), b.halo = halo;
        if (halo && (log_w < 3 || 1 << (log_w + log_h) < unit)) continue;
        if (b.bytes() > most_bytes || b.pictures > 256 || b.rows() > 256) continue;
        const int64_t across = (w + (1 << log_w) - 1) >> log_w, down = (h + (1 << log_h) - 1) >> log_h;
        b.across = Divisor(across), b.down = Divisor(down);
        b.count = across * down * ((n + b.pictures - 1) / b.pictures);
        const int64_t loads = b.count * b.lines() * (halo ? 1 : filter_height);
        if (best.count && (b.count > best.count || (b.count == best.count && loads >= best_loads))) continue;
        best = b, best_loads = loads;
      }
  return best;
}

/// A tensor [N,H,W,C] as TMA sees it, in boxes.
inline TensorMap pixel_map(ConstTensorRef x, const PixelBoxes& boxes) {
  TensorMapSpec spec;
  spec.rank = 4;
  for (int i = 0; i < 4; ++i) spec.extents[i] = static_cast<uint64_t>(x.shape[3 - i]);  // C, W, H, N
  spec.box[0] = kBlock, spec.box[1] = 1u << boxes.log_w;
  spec.box[2] = static_cast<uint32_t>(boxes.rows()), spec.box[3] = static_cast<uint32_t>(boxes.pictures);
  return make_tensor_map(x.data, spec);
}

}  // namespace imago::IMAGO_CUDA_NAMESPACE
