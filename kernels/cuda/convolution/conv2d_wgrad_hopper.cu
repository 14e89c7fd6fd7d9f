// The gradients of convolution with respect to weights and bias, with stride 1, on Hopper's own instructions:
// the formulas of conv2d_wgrad.cu.
//
// x [N,H,W,C] in one or two sources, every C a multiple of 64, dy [N,Ho,Wo,K], K a multiple of 8; bfloat16.
// dw and dbias float32.
//
// The idea: a block owns 128 k's x three blocks of 64 columns of dw for one part of the pixels. wgmma takes
// both operands as TMA brings them, channels contiguous and pixels below each other ("MN-major"). The three
// blocks of columns of a 3x3 filter are its three vertical taps, and they are one box of x with two rows
// more: the distance from one block of columns to the next, which wgmma's descriptor leaves free, is one row
// of the image. So one box feeds three taps, and the instruction is as wide as three separate boxes would
// make it. For other filters the blocks are three boxes of channels.
//
// dbias is the sum of dy down the pixels. Two warps of the warpgroup that has only one thread busy, the one
// that loads, sum boxes of dy on ordinary pipelines while the tensor cores multiply them. A wgmma with eight
// columns of ones would have to read dy from shared memory once more, too (a block of columns further along
// than the boxes of x cannot be part of the same instruction), and hold up the tensor cores for those 16
// cycles beside every 96. Up to four tiles of columns take turns, box by box: one alone would need all the
// bandwidth of its shared memory and end after the others.
//
// Cost, per block and 128 pixels of a 3x3 filter: 128 x 192 x 128 products, 1536 cycles of the tensor cores,
// for 50 KiB from L2 (34 bytes a cycle) and 85 bytes of shared memory read a cycle; where dy is summed, in
// every fourth box, 21 more, in some 600 instructions of each of the two warps. The parts are written and
// read once, 8 bytes a weight and part. Expected: 50 to 70 % of 989 TFLOP/s.
#include "kernels/cuda/convolution/conv2d_special.h"
#include "kernels/cuda/convolution/hopper_pixels.h"

namespace imago::IMAGO_CUDA_NAMESPACE {
namespace {

constexpr int kColumnBlocks = kWgradColumnBlocks, kOutputs = kWgradOutputs;
constexpr int kConsumers = 2 * kWarpgroup;
constexpr int kSummingWarps = 2;                           // 64 k's each
constexpr int kAccumulators = kColumnBlocks * kBlock / 2;  // of a thread

struct WgradPlan {
  WgradTiling tiling;
  PixelBoxes boxes;  // of the output; with a halo, one box of x serves the three vertical taps
  int filter_height, filter_width, top, left;
  int blocks_a, blocks;  // blocks of 64 channels in the first source, and in both
  int outputs;           // K
  Divisor output_tiles, groups, filter_width_divisor;

  __device__ __forceinline__ bool halo() const { return tiling.halo(); }
};

/// The 192 columns of one block: taps (r.., s) of one block of channels, or one tap of three
/// blocks of channels.
struct Columns {
  int r, s, channel_block;
  __device__ Columns(const WgradPlan& plan, int tile) {
    int tap, group;
    plan.groups.split(tile, tap, group);
    plan.filter_width_divisor.split(tap, r, s);
    channel_block = plan.halo() ? group : group * kColumnBlocks;
  }
};

/// One thread: dy and x for every box of pixels of this part.
__device__ __forceinline__ void produce(const WgradPlan& plan, unsigned char* shared, uint64_t* full,
                                        uint64_t* empty, const TensorMap* map_a, const TensorMap* map_b,
                                        const TensorMap* map_dy, const Columns& columns, int first_output,
                                        int begin, int end) {
  RingPosition p;
  for (int box = begin; box < end; ++box, p.advance(plan.tiling.stages)) {
    int n, h, w;
    plan.boxes.origin(box, n, h, w);
    unsigned char* const dy = shared + p.slot * plan.tiling.stage_bytes();
    unsigned char* x = dy + 2 * plan.tiling.dy_bytes();
    ptx::mbarrier_wait(empty + p.slot, p.lap ^ 1);
    ptx::mbarrier_arrive_expect_tx(full + p.slot, static_cast<unsigned>(plan.tiling.stage_bytes()));
    ptx::tma_load<4>(dy, map_dy, full + p.slot, {first_output, w, h, n});
    ptx::tma_load<4>(dy + plan.tiling.dy_bytes(), map_dy, full + p.slot, {first_output + kBlock, w, h, n});
    for (int i = 0; i < (plan.halo() ? 1 : kColumnBlocks); ++i, x += plan.boxes.bytes()) {
      const int block = columns.channel_block + i;  // past the last: outside of the tensor, zeros
      const bool second = block >= plan.blocks_a && plan.blocks > plan.blocks_a;
      ptx::tma_load<4>(x, second ? map_b : map_a, full + p.slot,
                       {(second ? block - plan.blocks_a : block) * kBlock, w + columns.s - plan.left,
                        h + columns.r - plan.top, n});
    }
  }
}

/// One warp: this block's share of dbias for 64 k's, from `first_output` on. A lane sums eight k's of
/// every fourth pixel.
template <int kPixels>
__device__ __forceinline__ void sum_outputs(const WgradPlan& plan, const unsigned char* dy, uint64_t* full,
                                            uint64_t* empty, int boxes, int share, int first_output,
                                            const WgradTarget& to) {
  const int lane = static_cast<int>(threadIdx.x) % 32, chunk = lane % 8, first_pixel = lane / 8;
  float sum[8] = {};
  int boxes_to_turn = share;
  RingPosition p;
  for (int box = 0; box < boxes; ++box, p.advance(plan.tiling.stages)) {
    ptx::mbarrier_wait(full + p.slot, p.lap);
    if (boxes_to_turn-- == 0) {
      const unsigned char* const stage = dy + p.slot * plan.tiling.stage_bytes();
#pragma unroll 4
      for (int q = first_pixel; q < kPixels; q += 4) {
        float v[8];
        load8(reinterpret_cast<const __nv_bfloat16*>(stage + q * kRowBytes + ((chunk ^ (q & 7)) << 4)), v);
#pragma unroll
        for (int e = 0; e < 8; ++e) sum[e] += v[e];
      }
      boxes_to_turn = to.shares - 1;
    }
    __syncwarp();
    if (lane == 0) ptx::mbarrier_arrive(empty + p.slot);
  }
#pragma unroll
  for (int e = 0; e < 8; ++e) {
    sum[e] += __shfl_xor_sync(0xffffffffu, sum[e], 8);
    sum[e] += __shfl_xor_sync(0xffffffffu, sum[e], 16);
  }
  const int k = first_output + 8 * chunk;  // K is a multiple of eight
  if (first_pixel != 0 || k >= plan.outputs) return;
#pragma unroll
  for (int e = 0; e < 8; ++e) to.put_bias(static_cast<int>(blockIdx.z), share, k + e, sum[e]);
}

/// grid.x: tiles of columns x tiles of k's, k's first; grid.z: parts of the pixels. Warpgroup 0 loads and
/// sums dy, 1 and 2 multiply.
template <int kPixels>  // of a box; a constant, because ptxas wants to see every wgmma of a group
__global__ void __launch_bounds__(kConsumers + kWarpgroup, 1)
    conv2d_wgrad_wgmma(const __grid_constant__ TensorMap map_a, const __grid_constant__ TensorMap map_b,
                       const __grid_constant__ TensorMap map_dy, const WgradPlan plan, const WgradTarget to) {
#if IMAGO_HAS_WGMMA
  IMAGO_DYNAMIC_SHARED(shared);
  uint64_t* const full = reinterpret_cast<uint64_t*>(shared + plan.tiling.stages * plan.tiling.stage_bytes());
  uint64_t* const empty = full + plan.tiling.stages;
  int column_tile, output_tile;
  plan.output_tiles.split(static_cast<int>(blockIdx.x), column_tile, output_tile);
  const bool sums = column_tile < to.shares;
  if (threadIdx.x == 0) {
    for (int i = 0; i < plan.tiling.stages; ++i) {
      ptx::mbarrier_init(full + i, 1);
      ptx::mbarrier_init(empty + i, kConsumers / 32 + (sums ? kSummingWarps : 0));
    }
    ptx::fence_mbarrier_init();
  }
  __syncthreads();

  const Columns columns(plan, column_tile);
  const int part = static_cast<int>(blockIdx.z), begin = part * plan.tiling.boxes_per_part;
  const int end = min(begin + plan.tiling.boxes_per_part, static_cast<int>(plan.boxes.count));
  const int warpgroup = static_cast<int>(threadIdx.x) / kWarpgroup;
  const int first_output = output_tile * kOutputs;
  if (warpgroup == 0) {
    ptx::registers_decrease<40>();
    const int half = static_cast<int>(threadIdx.x) / 32 - 1;  // of the k's; the first warp loads
    if (threadIdx.x == 0)
      produce(plan, shared, full, empty, &map_a, &map_b, &map_dy, columns, first_output, begin, end);
    else if (sums && half >= 0 && half < kSummingWarps)
      sum_outputs<kPixels>(plan, shared + half * plan.tiling.dy_bytes(), full, empty, end - begin,
                           column_tile, first_output + half * kBlock, to);
    return;
  }

  ptx::registers_increase<232>();
  const bool leader = threadIdx.x % 32 == 0;
  const uint32_t next_block =
      static_cast<uint32_t>(plan.halo() ? kRowBytes << plan.boxes.log_w : plan.boxes.bytes());
  float sum[kAccumulators] = {};
  uint64_t* free_stage = nullptr;  // of the box before, which may still be at work
  RingPosition p;
  for (int box = begin; box < end; ++box, p.advance(plan.tiling.stages)) {
    ptx::mbarrier_wait(full + p.slot, p.lap);
    const unsigned char* const stage = shared + p.slot * plan.tiling.stage_bytes();
    const unsigned char* const dy = stage + (warpgroup - 1) * plan.tiling.dy_bytes();
    const unsigned char* const x = stage + 2 * plan.tiling.dy_bytes();
    ptx::wgmma_fence();
#pragma unroll
    for (int q = 0; q < kPixels; q += 16)
      ptx::wgmma<1, 1>(sum, ptx::wgmma_mn_major(dy + q * kRowBytes, kRowBytes),
                       ptx::wgmma_mn_major(x + plan.boxes.line(q) * kRowBytes, next_block));
    ptx::wgmma_commit();
    ptx::wgmma_wait<1>();  // the box before is done: give its stage back
    if (leader && free_stage) ptx::mbarrier_arrive(free_stage);
    free_stage = empty + p.slot;
  }
  ptx::wgmma_wait<0>();
  ptx::wgmma_fence_registers(sum);

  const int lane = static_cast<int>(threadIdx.x) % 32, warp = static_cast<int>(threadIdx.x) % kWarpgroup / 32;
  const int channels = plan.blocks * kBlock;
  const int64_t width = static_cast<int64_t>(plan.filter_height) * plan.filter_width * channels;
  float* const dw = to.dw_of(part);
#pragma unroll
  for (int j = 0; j < kColumnBlocks * kBlock / 8; ++j) {
    const int i = j / 8;  // block of columns
    const int block = columns.channel_block + (plan.halo() ? 0 : i);
    const int tap = (columns.r + (plan.halo() ? i : 0)) * plan.filter_width + columns.s;
    if (block >= plan.blocks) continue;
#pragma unroll
    for (int half = 0; half < 2; ++half) {
      const int k = first_output + (warpgroup - 1) * kBlock + 16 * warp + 8 * half + lane / 4;
      if (k >= plan.outputs) continue;
      float* const at = dw + k * width + tap * channels + block * kBlock + j % 8 * 8 + lane % 4 * 2;
      to.put(at, sum[4 * j + 2 * half]);
      to.put(at + 1, sum[4 * j + 2 * half + 1]);
    }
  }
#endif
}

}  // namespace

void conv2d_wgrad_hopper(const Gpu& gpu, const Concat& x, ConstTensorRef dy, const Conv2dGeometry& g,
                         const Shape& filter, const WgradTarget& to, const WgradTiling& tiling) {
  check(tiling.boxes.count < (int64_t{1} << 31), "convolution on CUDA: too many tiles");
  const WgradPlan plan{.tiling = tiling,
                       .boxes = PixelBoxes(tiling.boxes),
                       .filter_height = static_cast<int>(filter[1]),
                       .filter_width = static_cast<int>(filter[2]),
                       .top = g.top,
                       .left = g.left,
                       .blocks_a = static_cast<int>(x.a.shape[3] / kBlock),
                       .blocks = static_cast<int>(filter[3] / kBlock),
                       .outputs = static_cast<int>(filter[0]),
                       .output_tiles = Divisor(tiling.output_tiles),
                       .groups = Divisor(tiling.groups),
                       .filter_width_divisor = Divisor(filter[2])};
  LaunchConfig config;
  config.grid = dim3(static_cast<unsigned>(tiling.tiles), 1, static_cast<unsigned>(tiling.parts));
  config.block = kConsumers + kWarpgroup;
  config.shared_bytes = tiling.shared_bytes();
  config.stream = gpu.stream;
  PixelBoxes dy_boxes = plan.boxes;
  dy_boxes.halo = 0;
  const TensorMap map_a = pixel_map(x.a, plan.boxes), map_b = x.b ? pixel_map(x.b, plan.boxes) : map_a;
  const TensorMap map_dy = pixel_map(dy, dy_boxes);
  auto* const kernel = tiling.halo() ? conv2d_wgrad_wgmma<128> : conv2d_wgrad_wgmma<64>;
  launch(kernel, config, map_a, map_b, map_dy, plan, to);
}

}  // namespace imago::IMAGO_CUDA_NAMESPACE
