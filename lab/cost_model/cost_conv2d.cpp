// Convolution: forward, dgrad, wgrad.
#include <algorithm>

#include "kernels/cuda/convolution/conv2d_tiling.h"
#include "kernels/cuda/device/flat_tiling.h"
#include "kernels/dtype.h"
#include "lab/cost_model/cost_model.h"
#include "lab/cost_model/sass_table.h"

namespace imago {

using namespace tiling;

namespace {

constexpr double kTensorShared = 2;  // bytes of a bfloat16
constexpr double kNarrowTaps = kNarrowFilter * kNarrowFilter;

/// Bytes of shared memory that one wgmma m64 nN k16 reads: both operands, once.
double wgmma_bytes(double n) {
  return (64 + n) * 16 * kTensorShared;
}

/// Shared memory and issue cycles of handing a tile of float32 results over to the epilogue.
double epilogue_shared(double results) {
  return 2 * results * sizeof(float) / GpuModel::kSharedBytesPerCycle;
}
double epilogue_issue(double results) {
  return results / 8 * assumed::kEpilogue / GpuModel::kLanesPerCycle;
}

constexpr double kConsumerWarps = kHopperConsumers / 32.0;

/// Cycles in which the consumers of conv2d_hopper.cu finish a tile, straight from the accumulators: two warps
/// a scheduler, each a chain of groups of 32 channels that exchanges its results in two rounds of shuffles
/// and waits for each bias. What is added is there in time, or as late as memory is.
double hopper_finish(const GpuModel& gpu, const HopperTiling& t, const Operation& o, double instructions,
                     double products) {
  const double lines = 2 * t.pixels / 128.0, groups = lines * kHopperOutputs / 32;
  const double waits =
      groups * gpu.l1_latency * (4 / 3.0 + (o.epilogue.bias ? 1 : 0) + (o.epilogue.per_image_bias ? 1 : 0));
  const double cycles =
      std::max(issue_cycles(kConsumerWarps, instructions) / gpu.issue_share, instructions + waits);
  if (!o.epilogue.residual && !o.so_far.a && !o.so_far.b) return cycles;
  const double memory = gpu.memory_latency * gpu.tensor_clock;
  const double late = std::max(0.0, memory - products);  // the first lines
  const double ahead = cycles * kHopperLinesAhead / lines;
  return cycles + late + (lines > kHopperLinesAhead ? std::max(0.0, memory - ahead) : 0);
}

/// Forward and dgrad on wgmma: conv2d_hopper.cu.
Launch hopper_launch(const GpuModel& gpu, const HopperTiling& t, const RecordedOperation& o, int64_t channels,
                     bool dgrad) {
  const Shape& filter = o.operation.w.shape;  // [K,R,S,C]
  const double taps = static_cast<double>(filter[1] * filter[2]);
  const double steps = static_cast<double>(channels / kBlock) * taps;  // 64 channels of one tap each
  const double pixels = t.pixels, results = pixels * kHopperOutputs;
  const double loaded = kHopperFilterBytes + t.boxes.bytes() / (t.boxes.halo + 1.0);  // a step, by TMA
  const double read = pixels / 64 * (kBlock / 16) * wgmma_bytes(kHopperOutputs);
  const auto tiles = static_cast<double>(t.tiles());
  // The table has the kernel of 256 pixels; with 128, half as many products and results.
  const char* const kernel = dgrad ? "conv2d_wgmma<256, true" : "conv2d_wgmma<256, false";
  const double step = sass_table().loop(kernel, "HGMMA"), end = sass_table().end(kernel) * pixels / 256;
  Launch k;
  k.name = str("conv2d_wgmma ", t.pixels, "x", kHopperOutputs, dgrad ? " dgrad" : "");
  k.blocks = t.blocks(gpu.limits);
  k.tiles = t.tiles();
  k.threads = kHopperThreads;
  k.roof = gpu.tensor_flops;
  k.flops = tiles * steps * 2 * results * kBlock;
  k.tensor_cycles = steps * 2 * results * kBlock / gpu.tensor_flops;
  k.shared_cycles = steps * (read + loaded) / GpuModel::kSharedBytesPerCycle;
  k.issue_cycles = issue_cycles(kConsumerWarps, steps * step + end);
  // While one warpgroup finishes, the other multiplies alone what it lags behind; but for the last tile.
  const double finish = hopper_finish(gpu, t, o.operation, end, k.tensor_cycles);
  const double lag = t.lag(static_cast<int64_t>(steps)) * k.tensor_cycles / steps / 2;
  k.serial_cycles = std::max(0.0, finish - lag);
  k.start_cycles = gpu.block_fill + std::min(finish, lag);
  k.memory_bytes = k.useful_bytes = static_cast<double>(o.bytes);
  k.l2_bytes = tiles * (steps * loaded + results * kTensorShared) + bytes_of(o.operation.so_far);
  k.useful_flops = static_cast<double>(o.flops);
  return k;
}

/// In how many of its steps a block of wgrad sums dy for dbias. All count as blocks that do: a launch
/// ends with them.
double summing(const Operation& o, int64_t column_tiles, int parts) {
  return o.dbias ? 1.0 / bias_shares(column_tiles, parts) : 0;
}

/// One launch of implicit_gemm.h. share: of the operation's work that is this launch's.
Launch gemm_launch(const GpuModel& gpu, const GemmTiling& t, const RecordedOperation& o, const char* what,
                   double share = 1) {
  const bool tensor_cores = o.operation.x.a.dtype == DType::kBFloat16;
  const double bytes = static_cast<double>(size_of(o.operation.x.a.dtype));
  const double m = t.large ? LargeTile::kM : SmallTile::kM, n = t.large ? LargeTile::kN : SmallTile::kN;
  const int warps_m = t.large ? LargeTile::kWarpsM : SmallTile::kWarpsM;
  const int warps_n = t.large ? LargeTile::kWarpsN : SmallTile::kWarpsN;
  const double line = kChunksPerLine * kChunkBytes, step_depth = line / bytes;
  const double steps = t.depth / step_depth;
  const double loaded = (m + n) * line;  // bytes a step
  // Every warp reads its rows of A and its columns of B.
  const double sums = summing(o.operation, t.tiles_n, t.parts);  // line_sums.h
  const double read = (m * warps_n + n * warps_m + sums * m) * line;
  const double gathered = (m + n) * kChunksPerLine * (t.vector ? 1 : kChunkBytes / bytes);
  const double warp_m = m / warps_m, warp_n = n / warps_n;
  const double fragments =  // ldmatrix and mma
      warp_m / 16 + warp_n / 16 + (warp_m / 16) * (warp_n / 8) + 2 * sums;
  const double products = tensor_cores ? 32 * warps_m * warps_n * (step_depth / 16) * fragments
                                       : m * n * step_depth / assumed::kFfmaShare + sums * 2 * m * step_depth;
  Launch k;
  k.name = str("implicit_gemm ", m, "x", n, t.vector ? "" : " by element", what);
  k.blocks = t.tiles() * t.parts;
  k.threads = t.large ? LargeTile::kThreads : SmallTile::kThreads;
  k.resident = static_cast<int>(
      std::min<int64_t>(gemm_blocks(static_cast<size_t>(bytes), k.threads),
                        gpu.shared_per_sm / gemm_shared_bytes(static_cast<int>(m), static_cast<int>(n))));
  k.roof = tensor_cores ? gpu.tensor_flops : GpuModel::kFloatFlopsPerCycle;
  const double rate = k.roof * (tensor_cores ? gpu.mma_sync_share : 1);
  k.flops = static_cast<double>(k.blocks) * 2 * m * n * t.depth;
  k.tensor_cycles = 2 * m * (n + (tensor_cores ? 8 * sums : 0)) * t.depth / rate;
  k.shared_cycles = steps * (read + loaded) / GpuModel::kSharedBytesPerCycle + epilogue_shared(m * n);
  k.issue_cycles =
      steps * (gathered * assumed::kGather + products) / GpuModel::kLanesPerCycle + epilogue_issue(m * n);
  const double step = std::max({k.tensor_cycles, k.shared_cycles, k.issue_cycles}) / std::max(1.0, steps);
  k.serial_cycles = assumed::kGemmFill + steps * std::max(0.0, assumed::kGemmStep - step);
  k.useful_flops = share * static_cast<double>(o.flops);
  k.memory_bytes = k.useful_bytes = share * static_cast<double>(o.bytes);
  k.l2_bytes =
      static_cast<double>(k.blocks) * (steps * loaded + m * n * bytes) + share * bytes_of(o.operation.so_far);
  return k;
}

/// Forward to at most three channels: conv2d_narrow.cu, in registers of float32.
Launch narrow_launch(const RecordedOperation& o, int run) {
  const Operation& c = o.operation;
  Launch k;
  k.name = "conv2d_to_narrow";
  k.blocks = ceil_div(c.y.numel() / c.y.shape[3], int64_t{run} * kNarrowWarps);
  k.threads = 32 * kNarrowWarps;
  k.resident = kNarrowBlocks;
  k.roof = GpuModel::kFloatFlopsPerCycle;
  k.flops = k.useful_flops = static_cast<double>(o.flops);
  k.issue_cycles = kNarrowWarps * run * kNarrowTaps * 32 * assumed::kNarrowTap / GpuModel::kLanesPerCycle;
  k.memory_bytes = k.useful_bytes = k.l2_bytes = static_cast<double>(o.bytes);
  return k;
}

/// wgrad with at most three channels on one side.
Launch narrow_wgrad(const RecordedOperation& o, int parts) {
  const Operation& c = o.operation;
  const ConstTensorRef& wide = c.x.a.shape[3] <= kNarrowChannels ? c.y : c.x.a;
  const auto pixels = static_cast<double>(ceil_div(wide.shape[0] * wide.shape[1], parts) * wide.shape[2]);
  Launch k;
  k.name = "conv2d_wgrad_around";
  k.blocks = parts;
  k.threads = 32 * kNarrowWarps;
  k.resident = kNarrowBlocks;
  k.roof = GpuModel::kFloatFlopsPerCycle;
  k.flops = k.useful_flops = static_cast<double>(o.flops);
  k.issue_cycles =
      pixels * 32 * (kNarrowTaps * assumed::kNarrowSum + kWidePerLane) / GpuModel::kLanesPerCycle;
  k.memory_bytes = k.useful_bytes = static_cast<double>(o.bytes);
  k.l2_bytes = k.memory_bytes + static_cast<double>(c.w.bytes()) * parts;
  return k;
}

template <class T>
std::vector<Launch> forward(const GpuModel& gpu, const RecordedOperation& o) {
  const Operation& c = o.operation;
  const int64_t outputs = c.w.shape[0];
  if (const int run = narrow_run(gpu.limits, c.x, c.w, c.geometry, c.y)) return {narrow_launch(o, run)};
  if (sizeof(T) == 2 && c.geometry.stride == 1) {
    if (const auto t =
            hopper_tiling(gpu.limits, c.x, c.w, c.y.shape, outputs, vector_epilogue(c.epilogue, c.y)))
      return {hopper_launch(gpu, *t, o, c.x.channels(), false)};
  }
  const bool vector = chunks_align<T>(c.x) && aligned16(c.w.data);
  return {gemm_launch(gpu,
                      gemm_tiling(gpu.limits, vector, c.y.numel() / outputs, outputs, c.w.numel() / outputs,
                                  kChunksPerLine * kChunkBytes / sizeof(T), 1),
                      o, "")};
}

template <class T>
std::vector<Launch> dgrad(const GpuModel& gpu, const RecordedOperation& o) {
  const Operation& c = o.operation;
  const Shape &dx = c.x.a.shape, &filter = c.w.shape;  // [N,H,W,Ca], [K,R,S,C]
  const int64_t channels = c.x.channels(), outputs = filter[0];
  const int stride = c.geometry.stride;
  if (sizeof(T) == 2 && stride == 1 && filter[3] % 8 == 0) {
    if (const auto t = hopper_tiling(gpu.limits, {c.y}, c.w, dx, channels, vector_dgrad(c.so_far, c.x)))
      return {hopper_launch(gpu, *t, o, outputs, true)};
  }
  const bool vector = chunks_align<T>(c.y.data, outputs) && chunks_align<T>(c.w.data, channels);
  std::vector<Launch> launches;
  for (int h = 0; h < std::min<int64_t>(stride, dx[1]); ++h)
    for (int v = 0; v < std::min<int64_t>(stride, dx[2]); ++v) {
      const ResidueClass rows(h, dx[1], static_cast<int>(filter[1]), stride, c.geometry.top);
      const ResidueClass columns(v, dx[2], static_cast<int>(filter[2]), stride, c.geometry.left);
      const int64_t taps = int64_t{rows.taps} * columns.taps;
      const double share = static_cast<double>(taps) / static_cast<double>(filter[1] * filter[2]);
      const GemmTiling t = gemm_tiling(gpu.limits, vector, dx[0] * rows.pixels * columns.pixels, channels,
                                       taps * outputs, kChunksPerLine * kChunkBytes / sizeof(T), 1);
      launches.push_back(gemm_launch(gpu, t, o, " dgrad", share));
    }
  return launches;
}

/// Elements of dw and dbias.
int64_t gradients_of(const Operation& o) {
  return o.w.numel() + (o.dbias ? o.w.shape[0] : 0);
}

/// The second launch of a wgrad in parts: dw and dbias += the parts, in order. shares: of a part's dbias.
Launch add_parts(const GpuModel& gpu, const RecordedOperation& o, int parts, int shares) {
  const int64_t count = gradients_of(o.operation);
  const auto weights = static_cast<double>(count);
  Launch k;
  k.name = "add_parts";
  k.blocks = std::min<int64_t>(ceil_div(count, kFlatThreads), 16 * gpu.limits.sms);
  k.resident = gpu.threads_per_sm / k.threads;
  k.l2_bytes = weights * sizeof(float) * (parts + 2);
  // Parts that do not stay in L2 come from memory.
  k.memory_bytes = weights * sizeof(float) * (2 + (weights * 4 * parts > gpu.l2_size / 2 ? parts : 0));
  k.in_flight = k.threads * sizeof(float) * kPartsInFlight;
  const int longest = o.operation.dbias ? parts * shares : parts;  // a thread adds them in order
  k.serial_cycles = cycles(gpu, gpu.l2_latency) * static_cast<double>(ceil_div(longest, kPartsInFlight));
  return k;
}

/// wgrad on wgmma: conv2d_wgrad_hopper.cu.
Launch hopper_wgrad(const GpuModel& gpu, const WgradTiling& t, const RecordedOperation& o) {
  const double columns = kWgradColumnBlocks * kBlock, results = kWgradOutputs * columns;
  const double boxes = t.boxes_per_part;
  const double sums = summing(o.operation, t.tiles / t.output_tiles, t.parts);
  const double summed = 2 * t.dy_bytes() * sums;
  const double read =
      2 * (t.pixels / 16.0) * wgmma_bytes(columns) + summed;  // a box, both consumer warpgroups
  const std::string kernel = str("conv2d_wgrad_wgmma<", t.pixels, ">");
  Launch k;
  k.name = kernel;
  k.blocks = t.tiles * t.parts;
  k.threads = kHopperThreads;
  k.roof = gpu.tensor_flops;
  k.flops = static_cast<double>(t.tiles * t.boxes.count) * 2 * results * t.pixels;
  k.tensor_cycles = boxes * 2 * results * t.pixels / gpu.tensor_flops;
  k.shared_cycles = boxes * (read + t.stage_bytes()) / GpuModel::kSharedBytesPerCycle;
  const double stored = results * sizeof(float) * (t.parts > 1 ? 1 : 2);  // one part: dw is read first
  // Two warps sum dy, 16 pixels a turn of their loop. Of the end, parts take one way, gradients the other.
  const SassTable& sass = sass_table();
  const double end = issue_cycles(kConsumerWarps, sass.end(kernel) / 2);
  k.issue_cycles = boxes * (issue_cycles(kConsumerWarps, sass.loop(kernel, "HGMMA")) +
                            issue_cycles(2, sums * t.pixels / 16.0 * sass.loop(kernel, "LDS")));
  k.serial_cycles = gpu.block_fill + std::max(stored / assumed::kScatter, end / gpu.issue_share);
  k.useful_flops = static_cast<double>(o.flops);
  k.memory_bytes = k.useful_bytes = static_cast<double>(o.bytes);
  k.l2_bytes = static_cast<double>(k.blocks) * (boxes * t.stage_bytes() + stored);
  return k;
}

template <class T>
std::vector<Launch> wgrad(const GpuModel& gpu, const RecordedOperation& o) {
  const Operation& c = o.operation;
  std::vector<Launch> launches;
  int parts = narrow_wgrad_parts(gpu.limits, c.x, c.y, c.geometry, c.w.shape);
  const bool narrow = parts > 0;
  int64_t column_tiles = 1;
  if (narrow) {
    launches = {narrow_wgrad(o, parts)};
  } else if (const auto t = wgrad_tiling(gpu.limits, c.x, c.y, c.geometry, c.w.shape)) {
    parts = t->parts, column_tiles = t->tiles / t->output_tiles;
    launches = {hopper_wgrad(gpu, *t, o)};
  } else {
    const int64_t k = c.w.shape[0], columns = c.w.numel() / k, pixels = c.y.numel() / k;
    const int step = kChunksPerLine * kChunkBytes / sizeof(T);
    parts = wgrad_parts(gpu.limits, k, columns, pixels, step);
    const bool vector = chunks_align<T>(c.x) && chunks_align<T>(c.y.data, k);
    const GemmTiling tiling = gemm_tiling(gpu.limits, vector, k, columns, pixels, step, parts);
    column_tiles = tiling.tiles_n;
    launches = {gemm_launch(gpu, tiling, o, " wgrad")};
  }
  if (narrow || parts > 1) {  // then dw is read and written by the second launch
    launches[0].memory_bytes = launches[0].useful_bytes -=
        2 * sizeof(float) * static_cast<double>(gradients_of(c));
    launches.push_back(add_parts(gpu, o, parts, bias_shares(column_tiles, parts)));
  }
  return launches;
}

template <class T>
std::vector<Launch> launches_of_type(const GpuModel& gpu, const RecordedOperation& o) {
  const std::string name = o.operation.name;
  return name == "conv2d" ? forward<T>(gpu, o) : name == "conv2d_dgrad" ? dgrad<T>(gpu, o) : wgrad<T>(gpu, o);
}

}  // namespace

std::vector<Launch> conv2d_launches(const GpuModel& gpu, const RecordedOperation& o) {
  return o.operation.x.a.dtype == DType::kBFloat16 ? launches_of_type<bf16>(gpu, o)
                                                   : launches_of_type<float>(gpu, o);
}

}  // namespace imago
