// How long a kernel takes on a GPU, from what one of its blocks does: a roofline that knows about tiles.
//
// A multiprocessor holds `resident` blocks. Each needs cycles of its tensor cores, of its shared memory and
// of its instruction issue, of which it fills `issue_share`, and these overlap; it also waits for things that
// nothing of its own hides (the ring's first tile, the epilogue, chains of dependent loads). So r blocks side
// by side take
//     T(r) = max(r * max(tensor, shared, issue), max(tensor, shared, issue) + serial)   cycles,
// and the blocks of a launch take as many rounds ("waves") of that as they need. Persistent blocks,
// which take one tile after the other, start once and need as many rounds as their tiles do. Meanwhile
// the whole chip has bytes to move through L2 and device memory, which overlaps with all of it, and a
// kernel has to be started:
//     seconds = launch + max(start + waves of T, latency + bytes / bandwidth).
// What a kernel finds in L2 because the one before it left it there is not modelled: expectations are a
// little too long for small tensors.
#pragma once

#include <string>

#include "kernels/cuda/runtime/gpu_limits.h"

namespace imago {

struct GpuModel {
  std::string key, title;             // "h100", "NVIDIA H100 SXM"
  tiling::GpuLimits limits;           // what the launchers ask for
  double clock;                       // Hz
  double tensor_clock;                // Hz while tensor cores are busy: what the power limit leaves
  double tensor_flops;                // bfloat16 FLOP a cycle and multiprocessor, dense, sums in float32
  double mma_sync_share;              // of tensor_flops that mma.sync reaches
  double memory_bandwidth;            // device memory, bytes/s, as a plain copy reaches it
  double l2_bandwidth;                // bytes/s, from L2 to all multiprocessors
  double l2_size;                     // bytes
  double memory_latency, l2_latency;  // s
  double launch;                      // s from one kernel of a CUDA graph to the next, which waits for it
  int threads_per_sm;
  int shared_per_sm;  // bytes, for all blocks

  // Assumed, not measured, of every GPU.
  double issue_share = 0.8;  // of its issue slots that a multiprocessor fills, if it has warps enough
  double l1_latency = 35;    // cycles until a load that hits L1 has come; a shuffle takes two thirds
  double block_fill = 1500;  // cycles until the first box of a block on wgmma has come: start, barriers, TMA

  static constexpr double kSharedBytesPerCycle = 128;  // of a multiprocessor
  static constexpr double kSchedulers = 4;            // of a multiprocessor: an instruction of a warp a cycle
  static constexpr double kLanesPerCycle = 128;       // four schedulers of 32
  static constexpr double kFloatFlopsPerCycle = 256;  // FFMA

  /// What matrix products can reach at best, FLOP/s: in bfloat16, in float32.
  double tensor_peak() const { return limits.sms * tensor_flops * tensor_clock; }
  double float_peak() const { return limits.sms * kFloatFlopsPerCycle * clock; }
};

/// "h100", "a100", "4090", "5090"; bad input for anything else.
const GpuModel& gpu_model(const std::string& key);

/// One launch. Cycles are those of one block (of one tile of a persistent block), FLOPs and bytes
/// those of all.
struct Launch {
  std::string name;  // "conv2d_wgmma 256x128"
  int64_t blocks = 1;
  int64_t tiles = 0;  // that persistent blocks share; 0: a block is a tile
  int threads = 256;
  int resident = 1;  // blocks that share a multiprocessor
  double roof = 0;   // FLOP a cycle and multiprocessor of what multiplies; 0: nothing to speak of
  double flops = 0;  // executed, products with zeros included
  double tensor_cycles = 0, shared_cycles = 0, issue_cycles = 0;
  double serial_cycles = 0;
  double start_cycles = 0;  // once a block, before its first tile
  double memory_bytes = 0, l2_bytes = 0;
  double in_flight = 0;  // bytes that a block has on their way at a time; 0: always enough
  double useful_flops = 0, useful_bytes = 0;  // what the operation asks for; a second pass has none

  int64_t all_tiles() const { return tiles ? tiles : blocks; }
  double shared_bytes() const {
    return static_cast<double>(all_tiles()) * shared_cycles * GpuModel::kSharedBytesPerCycle;
  }
};

/// Where the time of a kernel goes, in seconds. The parts add up to total().
struct LaunchTime {
  double lower_bound = 0;  // the operation's own FLOPs or bytes at the chip's rate
  double padding = 0;      // products with zeros, bytes moved twice
  double operands = 0;     // shared memory, L2 or instructions are slower than tensor cores and device memory
  double latency = 0;      // prologue, epilogue, chains of loads, too few bytes on their way
  double tail = 0;         // multiprocessors without work
  double passes = 0;       // launches that add nothing of their own: sums over parts
  double launch = 0;
  double waves = 0;              // tiles over the places for them
  double utilisation = 1;        // of the multiprocessors, by tiles
  const char* limit = "launch";  // tensor, memory, shared, issue, L2, latency, waves, launch

  double total() const { return lower_bound + padding + operands + latency + tail + passes + launch; }
};
LaunchTime time_of(const GpuModel& gpu, const Launch& launch);

}  // namespace imago
