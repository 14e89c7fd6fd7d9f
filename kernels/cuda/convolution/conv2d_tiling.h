// Which kernel a convolution takes, and how it is cut: conv2d_hopper.cu and conv2d_wgrad_hopper.cu where the
// GPU and the shape suit them, the implicit GEMM in the tiles of gemm_tiling.h elsewhere.
#pragma once

#include <algorithm>
#include <optional>

#include "kernels/cuda/convolution/gemm_tiling.h"
#include "kernels/cuda/convolution/pixel_boxes.h"

namespace imago::tiling {

/// Whether y and everything that is added to it can be accessed eight channels at a time.
inline bool vector_epilogue(const Conv2dEpilogue& e, ConstTensorRef y) {
  return y.shape[3] % 8 == 0 && aligned16(y.data) && aligned16(e.bias.data) &&
         aligned16(e.per_image_bias.data) && aligned16(e.residual.data);
}

/// The same of dgrad's results and of what they are added to.
inline bool vector_dgrad(const Concat& so_far, const Concat& dx) {
  return chunks_align<bf16>(dx) && aligned16(so_far.a.data) && aligned16(so_far.b.data);
}

/// Whether TMA can fetch the channels of both sources in whole boxes.
inline bool in_boxes(const Concat& x) {
  const auto suits = [](const ConstTensorRef& t) { return t.shape[3] % kBlock == 0 && aligned16(t.data); };
  return suits(x.a) && (!x.b || suits(x.b));
}

// ---- Between many channels and at most three (conv2d_narrow.cu): a lane owns four wide channels ----

constexpr int kNarrowChannels = 3, kNarrowFilter = 3;
constexpr int kWidePerLane = 4, kWidest = 32 * kWidePerLane;  // channels
constexpr int kNarrowWarps = 4, kNarrowBlocks = 3;            // of a block; of a multiprocessor

inline bool suits_narrow(ConstTensorRef wide, ConstTensorRef narrow, const Conv2dGeometry& g,
                         const Shape& filter) {
  return g.stride == 1 && filter[1] == kNarrowFilter && filter[2] == kNarrowFilter &&
         narrow.shape[3] <= kNarrowChannels && wide.shape[3] <= kWidest &&
         wide.shape[3] % kWidePerLane == 0 && aligned16(wide.data) && wide.shape[2] <= 1024;
}

/// Forward: output pixels that a warp takes one after the other; 0 where the shape does not suit.
inline int narrow_run(const GpuLimits& gpu, const Concat& x, ConstTensorRef w, const Conv2dGeometry& g,
                      ConstTensorRef y) {
  const int64_t pixels = y.numel() / y.shape[3];
  if (x.b || !suits_narrow(x.a, y, g, w.shape) || !aligned16(w.data) || pixels > (1 << 30)) return 0;
  return static_cast<int>(std::max<int64_t>(8, pixels / (kNarrowBlocks * kNarrowWarps * gpu.sms) + 1));
}

/// wgrad: parts of the rows; 0 where the shape does not suit.
inline int narrow_wgrad_parts(const GpuLimits& gpu, const Concat& x, ConstTensorRef dy,
                              const Conv2dGeometry& g, const Shape& dw) {
  if (x.b || !(suits_narrow(x.a, dy, g, dw) || suits_narrow(dy, x.a, g, dw))) return 0;
  const int64_t rows = dy.shape[0] * dy.shape[1];
  return static_cast<int>(std::clamp<int64_t>(rows / 4, 1, kNarrowBlocks * gpu.sms));
}

// ---- Forward and dgrad on wgmma: tiles of `pixels` pixels x 128 output channels ----

constexpr int kHopperOutputs = 128;                             // output channels of a tile
constexpr int kHopperFilterBytes = kHopperOutputs * kRowBytes;  // a stage of filters: 64 channels in, 128 out
constexpr int kHopperConsumers = 2 * kWarpgroup;                // threads that multiply
constexpr int kHopperThreads = kHopperConsumers + kWarpgroup;   // and one warpgroup that loads
constexpr int kHopperLinesAhead =
    2;  // pixels of a thread whose residual is on its way before they are finished

struct HopperTiling {
  BoxShape boxes;        // of the output
  int pixels;            // of a tile: 256 or 128
  int64_t output_tiles;  // of 128 output channels
  int pixel_stages, filter_stages;
  size_t shared_bytes;

  int64_t tiles() const { return boxes.count * output_tiles; }
  /// Steps, of `steps` a tile, that the second warpgroup of consumers stays behind the first: as far as the
  /// rings reach.
  int lag(int64_t steps) const {
    return static_cast<int>(std::min<int64_t>({filter_stages, pixel_stages * (boxes.halo + 1), steps})) - 1;
  }
  /// Each takes one tile after the other, and has its multiprocessor to itself.
  int64_t blocks(const GpuLimits& gpu) const { return std::min<int64_t>(tiles(), gpu.sms); }
};

/// Stride 1. x [N,H,W,C] (for dgrad dy) and w [K,R,S,C] give an output of [N,Ho,Wo] x `columns` channels;
/// vector_out: in aligned eights. `pixels` of a tile: 256 or 128; 0 goes by rule. Nothing where the shape
/// does not suit.
inline std::optional<HopperTiling> hopper_tiling(const GpuLimits& gpu, const Concat& x, ConstTensorRef w,
                                                 const Shape& output, int64_t columns, bool vector_out,
                                                 int pixels = 0) {
  if (gpu.capability != 90 || x.a.dtype != DType::kBFloat16 || !vector_out || !in_boxes(x) ||
      !aligned16(w.data))
    return {};
  HopperTiling t;
  t.output_tiles = ceil_div(columns, kHopperOutputs);
  const auto cut = [&](int size) {
    t.pixels = size;
    t.boxes = choose_boxes(size, output[0], output[1], output[2], static_cast<int>(w.shape[1]), 64, 48 << 10);
  };
  cut(pixels ? pixels : 256);
  if (!pixels && t.tiles() < gpu.sms) cut(128);
  if (!pixels && t.tiles() * 4 < gpu.sms) return {};  // smaller tiles fill the chip better
  const bool halo = t.boxes.halo > 0;                 // then one stage of pixels lasts for R of filters
  t.pixel_stages = halo ? 3 : 4;
  const int left_over = static_cast<int>(gpu.shared_bytes) - 512 - t.pixel_stages * t.boxes.bytes();
  t.filter_stages = std::min(halo ? 8 : 4, left_over / kHopperFilterBytes);
  if (t.filter_stages < 2) return {};
  const int ring_bytes = t.pixel_stages * t.boxes.bytes() + t.filter_stages * kHopperFilterBytes;
  t.shared_bytes = static_cast<size_t>(ring_bytes + 16 * (t.pixel_stages + t.filter_stages));
  return t;
}

/// What one residue class of rows (or columns) of dx has to do in dgrad: those with h = first + q * stride,
/// counted by q.
struct ResidueClass {
  int first, pixels;  // h of q = 0; how many q's
  int tap, taps;      // last tap it sees (r = tap - u * stride for u = 0, 1, ...), and how many
  int top;            // i = q - top + u

  ResidueClass(int first, int64_t extent, int filter, int stride, int padding) : first(first) {
    pixels = static_cast<int>((extent - first + stride - 1) / stride);
    const int lowest = (first + padding) % stride;  // taps: lowest, lowest + stride, ...
    taps = lowest < filter ? (filter - lowest + stride - 1) / stride : 0;
    tap = lowest + (taps - 1) * stride;
    top = taps - 1 - (first + padding - lowest) / stride;  // from i * stride + r = h + padding
  }
};

// ---- wgrad: dw [K,(R,S,C)] in tiles, the pixels in parts that are added up afterwards ----

constexpr int64_t kMostPartBytes = int64_t{256} << 20;

/// `wanted` parts, but at least eight `steps` (of the ring of stages) a part, and no more
/// memory than kMostPartBytes.
inline int clamp_parts(int64_t wanted, int64_t steps, int64_t weights) {
  const int64_t most = std::min(steps / 8, kMostPartBytes / (4 * weights));
  return static_cast<int>(std::clamp<int64_t>(wanted, 1, std::max<int64_t>(most, 1)));
}

/// Parts for the implicit GEMM in tiles of `tile` squared, so that every multiprocessor has so many blocks.
inline int wgrad_parts_for(const GpuLimits& gpu, int blocks, int64_t tile, int64_t k, int64_t columns,
                           int64_t pixels, int step) {
  const int64_t tiles = ceil_div(k, tile) * ceil_div(columns, tile);
  return clamp_parts(ceil_div(blocks * gpu.sms, tiles), pixels / step, k * columns);
}

/// By rule: two blocks for every multiprocessor.
inline int wgrad_parts(const GpuLimits& gpu, int64_t k, int64_t columns, int64_t pixels, int step) {
  const int64_t tile = std::min(k, columns) > 64 ? LargeTile::kM : SmallTile::kM;
  return wgrad_parts_for(gpu, 2, tile, k, columns, pixels, step);
}

/// How many parts the second launch of a thread has on their way.
constexpr int kPartsInFlight = 16;

/// The sum of dy, dbias, needs one tile of each row of dw's tiles. So that its blocks do not end after
/// all others, up to four tiles share the steps; without parts one has them all, because nobody would add
/// up the shares.
constexpr int kMostBiasShares = 4;
constexpr int bias_shares(int64_t column_tiles, int parts) {
  return parts > 1 ? static_cast<int>(std::min<int64_t>(column_tiles, kMostBiasShares)) : 1;
}

constexpr int kWgradColumnBlocks = 3;      // of 64 columns: 192 columns of dw a block
constexpr int kWgradOutputs = 2 * kBlock;  // k's: 64 for each consumer warpgroup

/// wgrad on wgmma: a block owns 128 k's x 192 columns of dw for one part of the boxes of pixels.
struct WgradTiling {
  BoxShape boxes;        // of the output; with a halo, one box of x serves the three vertical taps
  int pixels;            // of a box, without halo
  int stages;            // of the ring
  int64_t output_tiles;  // of 128 k's
  int64_t groups;        // of blocks of channels that one tile takes: one block with a halo, three without
  int64_t tiles;         // of dw
  int parts, boxes_per_part;

  constexpr bool halo() const { return boxes.halo > 0; }
  constexpr int dy_bytes() const { return pixels * kRowBytes; }  // for 64 k's
  constexpr int x_bytes() const { return boxes.bytes() * (halo() ? 1 : kWgradColumnBlocks); }
  constexpr int stage_bytes() const { return 2 * dy_bytes() + x_bytes(); }
  size_t shared_bytes() const { return static_cast<size_t>(stages) * (stage_bytes() + 16); }
  void cut_into(int count) {
    parts = count;
    boxes_per_part = static_cast<int>(ceil_div(boxes.count, count));
  }
};

/// Nothing where the shape does not suit. x [N,H,W,C], dy [N,Ho,Wo,K], dw [K,R,S,C].
inline std::optional<WgradTiling> wgrad_tiling(const GpuLimits& gpu, const Concat& x, ConstTensorRef dy,
                                               const Conv2dGeometry& g, const Shape& dw) {
  if (gpu.capability != 90 || dy.dtype != DType::kBFloat16 || g.stride != 1 || dw[0] % 8 ||
      !aligned16(dy.data) || !in_boxes(x))
    return {};
  const Shape& out = dy.shape;
  WgradTiling t;
  t.pixels = 128;
  t.boxes = choose_boxes(t.pixels, out[0], out[1], out[2],
                         dw[1] == kWgradColumnBlocks ? kWgradColumnBlocks : 1, 16, 32 << 10);
  if (!t.halo()) {  // three boxes of x a stage: half as many pixels, so that the ring has its stages
    t.pixels = 64;
    t.boxes = choose_boxes(t.pixels, out[0], out[1], out[2], 1, 16, 32 << 10);
  }
  t.stages = std::min(6, (static_cast<int>(gpu.shared_bytes) - 512) / t.stage_bytes());
  if (t.stages < 2) return {};
  const int64_t blocks = dw[3] / kBlock;
  t.output_tiles = ceil_div(dw[0], kWgradOutputs);
  t.groups = t.halo() ? blocks : ceil_div(blocks, kWgradColumnBlocks);
  t.tiles = t.output_tiles * t.groups * dw[2] * (t.halo() ? 1 : dw[1]);
  t.cut_into(clamp_parts(gpu.sms / t.tiles, t.boxes.count, dw.numel()));  // one block a multiprocessor
  return t;
}

// ---- per_image_bias_grad ----

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

// ---- Candidates for the autotuner ----
// Kernels that are there anyway, and cuts that cost no further compilation; the rule's choice comes first.

/// Pixels of a block of Hopper's kernels, forward and dgrad; 0 for other kernels.
constexpr int wgmma_pixels(Kernel kernel) {
  return kernel == Kernel::kWgmma256 ? 256 : kernel == Kernel::kWgmma128 ? 128 : 0;
}

/// Forward, and one residue class of dgrad: `gemm` is the implicit GEMM by rule; `hopper(pixels)` how
/// Hopper's kernels would cut the output, by rule for 0, if the shape suits them.
template <class Hopper>
Candidates conv2d_candidates(const GemmTiling& gemm, const Hopper& hopper) {
  const auto kernel = [](int pixels) { return pixels == 256 ? Kernel::kWgmma256 : Kernel::kWgmma128; };
  const std::optional<HopperTiling> rule = hopper(0);
  Candidates c({rule ? kernel(rule->pixels) : gemm.kernel()});
  for (int pixels : {256, 128})
    if (hopper(pixels)) c.add({kernel(pixels)});
  if (gemm.vector) c.add({Kernel::kTile128});
  c.add({Kernel::kTile64});
  return c;
}

/// dw [K,columns] from a sum over `pixels`, `step` of them a stage of the implicit GEMM. Of Hopper's kernel
/// there is one, with 128 k's a block.
inline Candidates wgrad_candidates(const GpuLimits& gpu, const std::optional<WgradTiling>& hopper,
                                   bool vector, int64_t k, int64_t columns, int64_t pixels, int step) {
  const int parts = wgrad_parts(gpu, k, columns, pixels, step);
  const Kernel gemm = gemm_tiling(gpu, vector, k, columns, pixels, step, parts).kernel();
  Candidates c(hopper ? Choice{Kernel::kWgmma128, hopper->parts} : Choice{gemm, parts});
  for (const int blocks : kBlocksTried) {
    const auto gemm_parts = [&](int64_t tile) {
      return wgrad_parts_for(gpu, blocks, tile, k, columns, pixels, step);
    };
    if (hopper)
      c.add({Kernel::kWgmma128,
             clamp_parts(ceil_div(blocks * gpu.sms, hopper->tiles), hopper->boxes.count, k * columns)});
    if (vector) c.add({Kernel::kTile128, gemm_parts(LargeTile::kM)});
    c.add({Kernel::kTile64, gemm_parts(SmallTile::kM)});
  }
  return c;
}

}  // namespace imago::tiling
