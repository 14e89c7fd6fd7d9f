// Attention forward and backward on the tensor-core kernels of attention.cu and attention_backward.cu.
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
  // Two of the operation's five products are dq's own (scores once, dS k), three those of the other kernel.
  const auto flops = static_cast<double>(o.flops), bytes = static_cast<double>(o.bytes);
  dq.useful_flops = 0.4 * flops, dkv.useful_flops = 0.6 * flops;
  dq.memory_bytes = dq.useful_bytes = bytes / 2, dkv.memory_bytes = dkv.useful_bytes = bytes / 2;
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
  return dispatch_head_dim(static_cast<int>(dim), [&](auto d) {
    constexpr int kD = decltype(d)::value;
    return is_forward ? forward<kD>(gpu, o) : backward<kD>(gpu, o);
  });
}

}  // namespace imago
