// Attention forward and backward on tensor cores: attention_hopper.cu and attention_backward_hopper.cu where
// takes_wgmma says so, else attention.cu and attention_backward.cu.
#include <algorithm>

#include "kernels/cuda/attention/attention_tiling.h"
#include "kernels/cuda/device/flat_tiling.h"
#include "lab/cost_model/cost_model.h"

namespace imago {

using namespace tiling;

namespace {

constexpr double kWarps = kAttentionThreads / 32.0,
                 kRows = kAttentionRows / kWarps;  // rows of scores of a warp
// Blocks that share a multiprocessor for want of registers, where a head has 256 channels:
// assumed, not measured.
constexpr int kWideHeadBlocks = 2;

/// What one warp does with one tile of `columns` tokens it walks along.
struct WarpTile {
  double products = 0;   // multiply-adds
  double shared = 0;     // bytes that ldmatrix reads
  double fragments = 0;  // instructions: ldmatrix and mma

  /// scores = rows of one tile by rows of the other, over `dim` channels.
  void multiply_transposed(double dim, double columns) {
    products += kRows * columns * dim;
    shared += (kRows + columns) * dim * 2;
    fragments += dim / 16 * (1 + columns / 16 + columns / 8);
  }
  /// sums [rows, width] += scores [rows, columns] by the tile [columns, width].
  void multiply_add(double width, double columns) {
    products += kRows * columns * width;
    shared += columns * width * 2;
    fragments += columns / 16 * (width / 16 + width / 8);
  }
};

/// A kernel whose blocks own 64 rows of one head and walk along all tokens.
Launch walk(const GpuModel& gpu, const std::string& name, const RecordedOperation& o, double slices,
            int head_dim, double columns, double tiles_in_shared, const WarpTile& tile, double loaded_rows) {
  const Shape& q = o.operation.x.a.shape;  // [N,T,heads*D]
  const double tokens = static_cast<double>(q[1]), steps = std::max(1.0, tokens / columns);
  const double row_bytes = head_dim * 2.0;
  const double scores = kAttentionRows * columns;
  Launch k;
  k.name = name;
  k.blocks = static_cast<int64_t>(slices) * q[0] * o.operation.heads * ceil_div(q[1], kAttentionRows);
  k.threads = kAttentionThreads;
  const int by_shared = static_cast<int>(gpu.shared_per_sm / (tiles_in_shared * row_bytes + 1024));
  const int by_registers = head_dim >= 128 ? kWideHeadBlocks : 2 * kWideHeadBlocks;
  k.resident = std::max(1, std::min(by_shared, by_registers));
  k.roof = gpu.tensor_flops;
  k.flops = static_cast<double>(k.blocks) * steps * kWarps * 2 * tile.products;
  k.tensor_cycles = steps * kWarps * 2 * tile.products / (gpu.tensor_flops * gpu.mma_sync_share);
  k.shared_cycles = steps * (kWarps * tile.shared + loaded_rows * row_bytes) / GpuModel::kSharedBytesPerCycle;
  k.issue_cycles = steps *
                   (kWarps * 32 * tile.fragments + scores * assumed::kSoftmax +
                    loaded_rows * row_bytes / 16 * assumed::kGather) /
                   GpuModel::kLanesPerCycle;
  // A block waits for the tokens of each step; only the other blocks of the multiprocessor fill the gap.
  k.serial_cycles = assumed::kGemmFill + steps * cycles(gpu, gpu.l2_latency);
  k.memory_bytes = static_cast<double>(o.bytes);
  k.l2_bytes = static_cast<double>(k.blocks) * (steps * loaded_rows + 3 * kAttentionRows) * row_bytes;
  return k;
}

/// What a block on wgmma does with each tile of 64 tokens that it walks along. Products are of 64 x 64 x D,
/// by both warpgroups together.
struct WgmmaTile {
  double scores, sums;   // products whose left operand comes from shared memory, and from registers
  double own_tiles;      // that a block loads and stores once
  double exchanged = 0;  // bytes of shared memory written and read besides
};

/// A kernel on wgmma whose blocks own `rows` tokens of one head and walk along all, two tensors at a time.
Launch walk_wgmma(const GpuModel& gpu, const std::string& name, const RecordedOperation& o, int64_t rows,
                  int head_dim, const WgmmaTile& tile) {
  constexpr double kTokens = kWgmmaTokens;
  const Shape& q = o.operation.x.a.shape;  // [N,T,heads*D]
  const auto steps = static_cast<double>(ceil_div(q[1], kWgmmaTokens));
  const double tile_bytes = kTokens * head_dim * 2, flops = 2 * kTokens * kTokens * head_dim;
  // A left operand [64,16] for every right one [64,16] of scores; sums read right operands [16,D] alone.
  const double read = tile.scores * 2 * tile_bytes + tile.sums * tile_bytes;
  Launch k;
  k.name = name;
  k.blocks = q[0] * o.operation.heads * ceil_div(q[1], rows);
  k.threads = kWgmmaAttentionThreads;
  k.roof = gpu.tensor_flops;
  k.flops = static_cast<double>(k.blocks) * steps * (tile.scores + tile.sums) * flops;
  k.tensor_cycles = steps * (tile.scores + tile.sums) * flops / gpu.tensor_flops;
  k.shared_cycles = steps * (read + 2 * tile_bytes + tile.exchanged) / GpuModel::kSharedBytesPerCycle;
  // Instructions of a thread and tile, within a tenth of what lab/sass counts in each of the nine loops.
  const double instructions = 300.0 + head_dim;
  const double softmax = 2 * 128 * instructions / GpuModel::kLanesPerCycle;
  k.issue_cycles = steps * softmax;
  k.serial_cycles = gpu.block_fill + softmax;  // the first tile's, for which all tensor cores wait
  k.l2_bytes = static_cast<double>(k.blocks) * (2 * steps + tile.own_tiles) * tile_bytes;
  return k;
}

/// Rows of dy times rows of y, before the rest of backward.
Launch delta(const GpuModel& gpu, const RecordedOperation& o) {
  const ConstTensorRef& q = o.operation.x.a;  // [N,T,heads*D]
  Launch k;
  k.name = "attention_delta";
  k.blocks = ceil_div(q.shape[0] * q.shape[1] * o.operation.heads * 8, kFlatThreads);  // eight threads a row
  k.threads = kFlatThreads;
  k.resident = gpu.threads_per_sm / k.threads;
  k.memory_bytes = k.l2_bytes = 2 * static_cast<double>(q.bytes());
  const double loads = q.shape[2] / o.operation.heads > 64 ? 2 : 1;  // the loop is unrolled by two
  k.in_flight = k.threads * 2 * 8 * static_cast<double>(size_of(q.dtype)) * loads;  // eight channels each
  return k;
}

/// float32, and heads of more than 256 channels: attention_simple.cu, some 10 % of FFMA's peak (its own
/// words). share: of the operation's work.
Launch simple(const GpuModel& gpu, const RecordedOperation& o, const char* name, double share) {
  constexpr double kPeakShare = 0.1;  // assumed, not measured
  Launch k;
  k.name = name;
  k.blocks =
      o.operation.x.a.shape[0] * o.operation.heads * ceil_div(o.operation.x.a.shape[1], kSimpleAttentionRows);
  k.threads = kSimpleAttentionThreads;
  k.resident = gpu.threads_per_sm / k.threads;
  k.roof = GpuModel::kFloatFlopsPerCycle;
  k.flops = k.useful_flops = share * static_cast<double>(o.flops);
  k.issue_cycles = k.flops / static_cast<double>(k.blocks) / (k.roof * kPeakShare);
  k.memory_bytes = k.useful_bytes = share * static_cast<double>(o.bytes);
  return k;
}

template <int kD>
std::vector<Launch> forward(const GpuModel& gpu, const RecordedOperation& o) {
  constexpr double kColumns = kKeys<kD>;
  WarpTile tile;
  tile.multiply_transposed(kD, kColumns);
  tile.multiply_add(kD, kColumns);
  Launch k = walk(gpu, str("attention<", kD, ">"), o, 1, kD, kColumns, kAttentionRows + 2 * kColumns, tile,
                  2 * kColumns);
  k.useful_flops = static_cast<double>(o.flops), k.useful_bytes = k.memory_bytes;
  return {k};
}

std::vector<Launch> forward_wgmma(const GpuModel& gpu, const RecordedOperation& o, int head_dim) {
  Launch k = walk_wgmma(gpu, str("attention_wgmma<", head_dim, ">"), o, kWgmmaQueries, head_dim,
                        {.scores = 2, .sums = 2, .own_tiles = 4});
  k.useful_flops = static_cast<double>(o.flops);
  k.memory_bytes = k.useful_bytes = static_cast<double>(o.bytes);
  return {k};
}

/// The operation's bytes are those of eight tensors, dy, q, k, v, y, dq, dk and dv, but each kernel reads
/// four: together they are larger than an H100's L2.
void share_backward(const RecordedOperation& o, Launch& dq, Launch& dkv) {
  // Two of the operation's five products are dq's own (scores once, dS k), three those of the other kernel.
  const auto flops = static_cast<double>(o.flops), bytes = static_cast<double>(o.bytes);
  dq.useful_flops = 0.4 * flops, dkv.useful_flops = 0.6 * flops;
  dq.useful_bytes = dkv.useful_bytes = bytes / 2;
  dq.memory_bytes = 5 * bytes / 8, dkv.memory_bytes = 6 * bytes / 8;
}

std::vector<Launch> backward_wgmma(const GpuModel& gpu, const RecordedOperation& o, int head_dim) {
  Launch dq = walk_wgmma(gpu, str("attention_dq_wgmma<", head_dim, ">"), o, kWgmmaQueries, head_dim,
                         {.scores = 4, .sums = 2, .own_tiles = 6});
  constexpr double kHandedOver = 2.0 * kWgmmaTokens * kWgmmaTokens * 2;  // P^T in bfloat16, there and back
  Launch dkv = walk_wgmma(gpu, str("attention_dkv_wgmma<", head_dim, ">"), o, kWgmmaTokens, head_dim,
                          {.scores = 2, .sums = 2, .own_tiles = 4, .exchanged = kHandedOver});
  share_backward(o, dq, dkv);
  return {delta(gpu, o), dq, dkv};
}

template <int kD>
std::vector<Launch> backward(const GpuModel& gpu, const RecordedOperation& o) {
  constexpr double kColumns = kWalk<kD>;
  const double in_shared = 2 * kAttentionRows + 2 * kColumns;
  WarpTile for_q, for_kv;
  for (WarpTile* tile : {&for_q, &for_kv}) {  // scores, and dP
    tile->multiply_transposed(kD, kColumns);
    tile->multiply_transposed(kD, kColumns);
  }
  for_q.multiply_add(kD, kColumns);
  for_kv.multiply_add(kSlice<kD>, kColumns);
  for_kv.multiply_add(kSlice<kD>, kColumns);
  Launch dq = walk(gpu, str("attention_dq<", kD, ">"), o, 1, kD, kColumns, in_shared, for_q, 2 * kColumns);
  Launch dkv = walk(gpu, str("attention_dkv<", kD, ">"), o, kD / kSlice<kD>, kD, kColumns, in_shared, for_kv,
                    2 * kColumns);
  share_backward(o, dq, dkv);
  return {delta(gpu, o), dq, dkv};
}

}  // namespace

std::vector<Launch> attention_launches(const GpuModel& gpu, const RecordedOperation& o) {
  const int64_t dim = o.operation.x.a.shape[2] / o.operation.heads;
  const bool is_forward = std::string(o.operation.name) == "attention";
  if (!takes_tensor_cores(o.operation.x.a.dtype, dim)) {
    if (is_forward) return {simple(gpu, o, "attention_simple", 1)};
    return {delta(gpu, o), simple(gpu, o, "attention_dq_simple", 0.4),
            simple(gpu, o, "attention_dkv_simple", 0.6)};
  }
  if (takes_wgmma(gpu.limits, dim, dim % 8 == 0))  // tensors of the plan device are aligned
    return dispatch_wide_head(static_cast<int>(dim), [&](auto d) {
      return is_forward ? forward_wgmma(gpu, o, d) : backward_wgmma(gpu, o, d);
    });
  return dispatch_head_dim(static_cast<int>(dim), [&](auto d) {
    constexpr int kD = decltype(d)::value;
    return is_forward ? forward<kD>(gpu, o) : backward<kD>(gpu, o);
  });
}

}  // namespace imago
