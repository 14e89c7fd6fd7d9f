// Convolution forward and dgrad with stride 1 on Hopper's own instructions: the formulas of
// conv2d.cu and conv2d_dgrad.cu.
//
// x [N,H,W,C] in one or two sources, bfloat16, every C a multiple of 64; output channels a multiple of 8, any
// filter, any padding. For dgrad x is dy, and the filter is walked backwards.
//
// The idea: a block owns 256 (or 128) pixels x 128 output channels. One thread asks the copy engine (TMA) for
// boxes of 64 channels of pixels and of filters; mbarriers tell two warpgroups when a box has come, and they
// multiply it with wgmma straight from shared memory. A box of pixels has R - 1 rows more than the block's
// pixels, so that the R vertical taps of one (s, 64 channels) are the same box read at R starting rows: a 3x3
// convolution loads its pixels three times (and a quarter) instead of nine.
//
// Blocks are persistent, one a multiprocessor: on an H100 each takes every 132nd tile. The results go from
// the accumulators straight to memory, so the rings stay in use, and while the consumers finish one tile the
// producer fetches the next. One warpgroup runs as many steps ahead of the other as the rings hold: while it
// finishes its half of a tile, the other has the tensor cores to itself. What is added to the results (a
// residual, earlier gradients) comes two pixels ahead, the first two while the tensor cores work.
//
// Cost, per tile and 64 channels of one tap: 256 x 128 x 64 products take 1024 cycles of the tensor cores;
// they read 96 bytes of shared memory a cycle (of 128), and load 16 KiB of filter and 13 KiB of pixels (3x3),
// 28 bytes a cycle from L2. To finish a tile takes each warp some 2200 instructions
// (bench/results/cuda_sass.md), two warps a scheduler: with 18 steps (3x3, 128 channels) a quarter of the
// products' time, half of it beside the other warpgroup's products. Expected: 60 to 75 % of 989 TFLOP/s.
#include "kernels/cuda/convolution/conv2d_special.h"

#include "kernels/cuda/convolution/hopper_pixels.h"

namespace imago::IMAGO_CUDA_NAMESPACE {
namespace {

using T = __nv_bfloat16;

constexpr int kOutputs = kHopperOutputs, kFilterBytes = kHopperFilterBytes, kConsumers = kHopperConsumers;
constexpr int kConsumerWarps = kConsumers / 32;

struct Plan {
  PixelBoxes boxes;  // of the output
  int filter_height, filter_width;
  int top, left;         // where the first tap reads, up and left of a pixel
  int blocks_a, blocks;  // blocks of 64 channels in the first source, and in both
  int pixel_stages, filter_stages;
  int height, width, images;  // of the output
  int tiles;                  // boxes x tiles of 128 output channels, channels first
  int lag;                    // steps from one warpgroup to the other
  Divisor output_tiles;

  __host__ __device__ int shared_taps() const { return boxes.halo + 1; }  // vertical taps that one box serves
};

/// The barriers of one ring: `full` when its bytes have landed, `empty` when every consumer warp has read it.
struct Ring {
  unsigned char* data;
  uint64_t *full, *empty;
  int stages, bytes;

  __device__ __forceinline__ void init() const {
    for (int i = 0; i < stages; ++i) {
      ptx::mbarrier_init(full + i, 1);
      ptx::mbarrier_init(empty + i, kConsumerWarps);
    }
  }
  __device__ __forceinline__ unsigned char* at(int slot) const { return data + slot * bytes; }
  /// The producer's turn: waits for the slot and announces what will come.
  __device__ __forceinline__ void open(const RingPosition& p) const {
    ptx::mbarrier_wait(empty + p.slot, p.lap ^ 1);
    ptx::mbarrier_arrive_expect_tx(full + p.slot, static_cast<unsigned>(bytes));
  }
};

struct Rings {
  Ring pixels, filters;
  __device__ Rings(unsigned char* shared, const Plan& plan) {
    pixels.data = shared;
    pixels.stages = plan.pixel_stages, pixels.bytes = plan.boxes.bytes();
    filters.data = shared + pixels.stages * pixels.bytes;
    filters.stages = plan.filter_stages, filters.bytes = kFilterBytes;
    pixels.full = reinterpret_cast<uint64_t*>(filters.data + filters.stages * filters.bytes);
    pixels.empty = pixels.full + pixels.stages;
    filters.full = pixels.empty + pixels.stages;
    filters.empty = filters.full + filters.stages;
  }
};

/// Where both rings stand, for the producer or for a consumer, from one tile to the next.
struct RingPositions {
  RingPosition pixel, filter;
};

/// One thread: asks for a tile's boxes in the order in which the consumers want them.
template <bool kDgrad>
__device__ __forceinline__ void produce(const Rings& rings, RingPositions& at, const Plan& plan,
                                        const TensorMap* map_a, const TensorMap* map_b,
                                        const TensorMap* map_w, int box, int first_output) {
  int n, h, w;
  plan.boxes.origin(box, n, h, w);
  for (int block = 0; block < plan.blocks; ++block) {
    const bool second = block >= plan.blocks_a;
    const int channel = (second ? block - plan.blocks_a : block) * kBlock;
    for (int s = 0; s < plan.filter_width; ++s) {
      for (int r = 0; r < plan.filter_height; ++r) {
        if (r % plan.shared_taps() == 0) {
          rings.pixels.open(at.pixel);
          ptx::tma_load<4>(rings.pixels.at(at.pixel.slot), second ? map_b : map_a,
                           rings.pixels.full + at.pixel.slot,
                           {channel, w + s - plan.left, h + r - plan.top, n});
          at.pixel.advance(rings.pixels.stages);
        }
        rings.filters.open(at.filter);
        unsigned char* const to = rings.filters.at(at.filter.slot);
        uint64_t* const full = rings.filters.full + at.filter.slot;
        if constexpr (kDgrad) {  // [64 k][64 c] twice: c contiguous, last tap first
          const int tap = (plan.filter_height - 1 - r) * plan.filter_width + plan.filter_width - 1 - s;
          ptx::tma_load<3>(to, map_w, full, {first_output, tap, block * kBlock});
          ptx::tma_load<3>(to + kFilterBytes / 2, map_w, full, {first_output + kBlock, tap, block * kBlock});
        } else {  // [128 k][64 c]
          const int tap = r * plan.filter_width + s;
          ptx::tma_load<2>(to, map_w, full, {(tap * plan.blocks + block) * kBlock, first_output});
        }
        at.filter.advance(rings.filters.stages);
      }
    }
  }
}

/// A consumer warpgroup: 64 kParts pixels, starting at pixel `first` of the box, times 128 output channels.
template <bool kDgrad, int kParts>
__device__ __forceinline__ void consume(const Rings& rings, RingPositions& at, const Plan& plan, int first,
                                        float (&sum)[kParts][kOutputs / 2]) {
  const bool leader = threadIdx.x % 32 == 0;
  int line[kParts];  // where each 64 pixels begin in a box
#pragma unroll
  for (int i = 0; i < kParts; ++i) line[i] = plan.boxes.line(first + 64 * i);

  uint64_t *free_pixels = nullptr, *free_filters = nullptr;  // of the step before, which may still be at work
  for (int group = plan.blocks * plan.filter_width * plan.filter_height / plan.shared_taps(); group > 0;
       --group) {
    ptx::mbarrier_wait(rings.pixels.full + at.pixel.slot, at.pixel.lap);
    for (int r = 0; r < plan.shared_taps(); ++r) {
      ptx::mbarrier_wait(rings.filters.full + at.filter.slot, at.filter.lap);
      const unsigned char* const pixels =
          rings.pixels.at(at.pixel.slot) + (r << plan.boxes.log_w) * kRowBytes;
      const unsigned char* const filters = rings.filters.at(at.filter.slot);
      const uint64_t b =
          kDgrad ? ptx::wgmma_mn_major(filters, kFilterBytes / 2) : ptx::wgmma_k_major(filters);
      ptx::wgmma_fence();
#pragma unroll
      for (int k = 0; k < kBlock / 16; ++k)
#pragma unroll
        for (int i = 0; i < kParts; ++i)
          ptx::wgmma<0, kDgrad>(sum[i],
                                ptx::wgmma_advance(ptx::wgmma_k_major(pixels + line[i] * kRowBytes), 32 * k),
                                ptx::wgmma_advance(b, (kDgrad ? 16 * kRowBytes : 32) * k));
      ptx::wgmma_commit();
      ptx::wgmma_wait<1>();  // the step before is done: give its stages back
      if (leader && free_filters) ptx::mbarrier_arrive(free_filters);
      if (leader && free_pixels) ptx::mbarrier_arrive(free_pixels);
      free_filters = rings.filters.empty + at.filter.slot;
      free_pixels = r + 1 == plan.shared_taps() ? rings.pixels.empty + at.pixel.slot : nullptr;
      at.filter.advance(rings.filters.stages);
    }
    at.pixel.advance(rings.pixels.stages);
  }
  ptx::wgmma_wait<0>();
#pragma unroll
  for (int i = 0; i < kParts; ++i) ptx::wgmma_fence_registers(sum[i]);
  if (leader) ptx::mbarrier_arrive(free_filters);
  if (leader) ptx::mbarrier_arrive(free_pixels);
}

/// Lane t of every four holds two neighbours of each of four groups of eight channels, from channel 2 t on.
/// After two exchanges with other lanes it holds the eight channels of group t: the transpose of 4 x 4 pairs.
__device__ __forceinline__ void gather_channels(float2 (&pair)[4]) {
  const auto swap = [](float2& low, float2& high, int distance, bool keep_high) {
    const float2 give = keep_high ? low : high;
    const float2 taken = make_float2(__shfl_xor_sync(0xffffffffu, give.x, distance),
                                     __shfl_xor_sync(0xffffffffu, give.y, distance));
    (keep_high ? low : high) = taken;
  };
  const bool odd = threadIdx.x & 1, upper = threadIdx.x & 2;
  swap(pair[0], pair[1], 1, odd);
  swap(pair[2], pair[3], 1, odd);
  swap(pair[0], pair[2], 2, upper);
  swap(pair[1], pair[3], 2, upper);
}

/// A thread's place in a tile. Its accumulators are lines: 2 kParts pixels with 128 channels, of which it
/// finishes, after gather_channels, eight neighbours in each of four groups of 32.
struct Lines {
  int image, row, column;  // of the box's first pixel
  int first_pixel;         // of line 0, in the box
  int first_channel;       // of group 0

  __device__ Lines(const Plan& plan, int box, int first, int first_output) {
    const int lane = static_cast<int>(threadIdx.x) % 32,
              warp = static_cast<int>(threadIdx.x) % kWarpgroup / 32;
    plan.boxes.origin(box, image, row, column);
    first_pixel = first + 16 * warp + lane / 4;
    first_channel = first_output + lane % 4 * 8;
  }
  /// The pixel of a line in the output [N,H,W]; -1 outside of it.
  __device__ __forceinline__ int pixel(const Plan& plan, int line) const {
    const int q = first_pixel + 64 * (line / 2) + 8 * (line % 2);
    const int w = column + (q & ((1 << plan.boxes.log_w) - 1));
    const int h = row + ((q >> plan.boxes.log_w) & ((1 << plan.boxes.log_h) - 1));
    const int n = image + (q >> (plan.boxes.log_w + plan.boxes.log_h));
    const bool inside = w < plan.width && h < plan.height && n < plan.images;
    return inside ? (n * plan.height + h) * plan.width + w : -1;
  }
};

constexpr int kGroups = kOutputs / 32;

/// What is added to one line, as it lies in memory; zeros where nothing is.
struct Added {
  uint4 group[kGroups];

  template <class Out>
  __device__ __forceinline__ void load(const Out& out, int pixel, int first_channel) {
#pragma unroll
    for (int g = 0; g < kGroups; ++g) {
      const int channel = first_channel + 32 * g;
      const T* const from = pixel >= 0 && channel < out.columns ? out.added(pixel, channel) : nullptr;
      group[g] = make_uint4(0, 0, 0, 0);
      if (from) group[g] = *reinterpret_cast<const uint4*>(from);
    }
  }
};

/// Straight from the accumulators: every four lanes store 32 neighbouring channels of a pixel, 64 bytes.
/// `added` is that of the first lines; each line asks for that of a later one.
template <int kParts, class Out>
__device__ __forceinline__ void finish(const Plan& plan, const Out& out, const Lines& lines,
                                       Added (&added)[kHopperLinesAhead],
                                       const float (&sum)[kParts][kOutputs / 2]) {
#pragma unroll
  for (int line = 0; line < 2 * kParts; ++line) {
    const Added now = added[line % 2];
    if (line + 2 < 2 * kParts) added[line % 2].load(out, lines.pixel(plan, line + 2), lines.first_channel);
    const int pixel = lines.pixel(plan, line);
#pragma unroll
    for (int g = 0; g < kGroups; ++g) {
      float2 pair[4];
#pragma unroll
      for (int j = 0; j < 4; ++j) {
        const int at = (4 * g + j) * 4 + 2 * (line % 2);
        pair[j] = make_float2(sum[line / 2][at], sum[line / 2][at + 1]);
      }
      gather_channels(pair);
      const int channel = lines.first_channel + 32 * g;
      if (pixel < 0 || channel >= out.columns) continue;
      float v[8] = {pair[0].x, pair[0].y, pair[1].x, pair[1].y, pair[2].x, pair[2].y, pair[3].x, pair[3].y};
      float more[8];
      load8(reinterpret_cast<const T*>(&now.group[g]), more);
      out.put8(pixel, channel, v, more);
    }
  }
}

/// grid: a block a multiprocessor, or as many as there are tiles. Warpgroup 0 loads, 1 and 2 multiply.
template <int kPixels, bool kDgrad, class Out>
__global__ void __launch_bounds__(kConsumers + kWarpgroup, 1)
    conv2d_wgmma(const __grid_constant__ TensorMap map_a, const __grid_constant__ TensorMap map_b,
                 const __grid_constant__ TensorMap map_w, const Plan plan, const Out out) {
#if IMAGO_HAS_WGMMA
  IMAGO_DYNAMIC_SHARED(shared);
  const Rings rings(shared, plan);
  if (threadIdx.x == 0) {
    rings.pixels.init();
    rings.filters.init();
    ptx::fence_mbarrier_init();
  }
  __syncthreads();

  const int warpgroup = static_cast<int>(threadIdx.x) / kWarpgroup;
  const int first_tile = static_cast<int>(blockIdx.x), step = static_cast<int>(gridDim.x);
  RingPositions at;
  int box, outputs;
  if (warpgroup == 0) {
    ptx::registers_decrease<40>();
    if (threadIdx.x != 0) return;
    for (int tile = first_tile; tile < plan.tiles; tile += step) {
      plan.output_tiles.split(tile, box, outputs);
      produce<kDgrad>(rings, at, plan, &map_a, &map_b, &map_w, box, outputs * kOutputs);
    }
  } else {
    ptx::registers_increase<232>();
    constexpr int kParts = kPixels / 128;
    const int first = (warpgroup - 1) * 64 * kParts;
    if (warpgroup == 2) ptx::mbarrier_wait(rings.filters.full + plan.lag, 0);
    for (int tile = first_tile; tile < plan.tiles; tile += step) {
      plan.output_tiles.split(tile, box, outputs);
      const Lines lines(plan, box, first, outputs * kOutputs);
      Added added[kHopperLinesAhead];  // comes while the tensor cores work
#pragma unroll
      for (int line = 0; line < kHopperLinesAhead; ++line)
        added[line].load(out, lines.pixel(plan, line), lines.first_channel);
      float sum[kParts][kOutputs / 2] = {};
      consume<kDgrad, kParts>(rings, at, plan, first, sum);
      finish<kParts>(plan, out, lines, added, sum);
    }
  }
#endif
}

/// Filters [K,R,S,C] for forward: rows of (r,s,c), 128 k's at a time. For dgrad: [K, taps, C], 64 c's
/// of 64 k's.
TensorMap filter_map(ConstTensorRef w, bool dgrad) {
  const uint64_t k = static_cast<uint64_t>(w.shape[0]), c = static_cast<uint64_t>(w.shape[3]);
  const uint64_t taps = static_cast<uint64_t>(w.shape[1] * w.shape[2]);
  TensorMapSpec spec;
  spec.rank = dgrad ? 3 : 2;
  spec.extents[0] = dgrad ? c : taps * c, spec.extents[1] = dgrad ? taps : k, spec.extents[2] = k;
  spec.box[0] = kBlock, spec.box[1] = dgrad ? 1 : kOutputs, spec.box[2] = kBlock;
  return make_tensor_map(w.data, spec);
}

template <bool kDgrad, class Out>
void run(const Gpu& gpu, const Concat& x, ConstTensorRef w, int top, int left, const Out& out,
         const Shape& output, const HopperTiling& tiling) {
  check(tiling.tiles() < (int64_t{1} << 30), "convolution on CUDA: too many tiles");

  const PixelBoxes boxes(tiling.boxes);
  const Plan plan{.boxes = boxes,
                  .filter_height = static_cast<int>(w.shape[1]),
                  .filter_width = static_cast<int>(w.shape[2]),
                  .top = top,
                  .left = left,
                  .blocks_a = static_cast<int>(x.a.shape[3] / kBlock),
                  .blocks = static_cast<int>(x.channels() / kBlock),
                  .pixel_stages = tiling.pixel_stages,
                  .filter_stages = tiling.filter_stages,
                  .height = static_cast<int>(output[1]),
                  .width = static_cast<int>(output[2]),
                  .images = static_cast<int>(output[0]),
                  .tiles = static_cast<int>(tiling.tiles()),
                  .lag = tiling.lag(x.channels() / kBlock * w.shape[1] * w.shape[2]),
                  .output_tiles = Divisor(tiling.output_tiles)};

  LaunchConfig config;
  config.grid = static_cast<unsigned>(tiling.blocks(gpu));
  config.block = kHopperThreads;
  config.shared_bytes = tiling.shared_bytes;
  config.stream = gpu.stream;
  const TensorMap map_a = pixel_map(x.a, boxes), map_b = x.b ? pixel_map(x.b, boxes) : map_a;
  const TensorMap map_w = filter_map(w, kDgrad);
  if (tiling.pixels == 256)
    launch(conv2d_wgmma<256, kDgrad, Out>, config, map_a, map_b, map_w, plan, out);
  else
    launch(conv2d_wgmma<128, kDgrad, Out>, config, map_a, map_b, map_w, plan, out);
}

}  // namespace

void conv2d_hopper(const Gpu& gpu, const Concat& x, ConstTensorRef w, const Conv2dGeometry& g,
                   const ForwardOut<T>& out, const Shape& y, const HopperTiling& tiling) {
  run<false>(gpu, x, w, g.top, g.left, out, y, tiling);
}

void conv2d_dgrad_hopper(const Gpu& gpu, ConstTensorRef dy, ConstTensorRef w, const Conv2dGeometry& g,
                         const DgradOut<T>& out, const Shape& dx, const HopperTiling& tiling) {
  // dx[h] reads dy[h + top - r]: the last tap first, R - 1 - top rows up.
  run<true>(gpu, {dy}, w, static_cast<int>(w.shape[1]) - 1 - g.top, static_cast<int>(w.shape[2]) - 1 - g.left,
            out, dx, tiling);
}

}  // namespace imago::IMAGO_CUDA_NAMESPACE
