// What a training step has to cost on a GPU, before there is one: every operation as the kernels that our
// launchers would start for it, in the tiles that they would cut.
//
// Which kernel, which tiles and how many of them is asked of the *_tiling.h of kernels/cuda, as the launchers
// ask. What a tile costs follows from its geometry: FLOPs, bytes from device memory and L2, bytes of shared
// memory that its products read; of convolution on wgmma and of GroupNorm also from the instructions that
// the compiler made of their loops (sass_table.h). What cannot be counted is in `assumed`.
#pragma once

#include <vector>

#include "lab/cost_model/gpu_model.h"
#include "lab/cost_model/recorded_step.h"

namespace imago {

/// Assumed, not measured, all of them: to be replaced when a GPU has run the kernels.
namespace assumed {
constexpr double kGemmFill = 1000;  // cycles until the ring's first stage has come
constexpr double kGemmStep = 250;   // cycles that one step takes at least: wait, barrier, ldmatrix, mma
constexpr double kFfmaShare = 0.8;  // of the float32 rate that the outer products of tile_product.h reach
constexpr double kGather = 30;      // instructions to find and start one sixteen-byte chunk, or one element
constexpr double kEpilogue = 30;    // instructions for eight finished results
constexpr double kNarrowTap = 28;   // instructions a lane, pixel and tap of conv2d_narrow.cu, forward
constexpr double kNarrowSum = 15;   // the same, of its weight gradient
constexpr double kScatter = 32;     // bytes a cycle and multiprocessor of pairs of float32 stored
constexpr double kSoftmax = 10;     // instructions a score: mask, scale, largest, exp2, sum, rounding
constexpr int kUnroll = 4;          // loads that a plain loop has on their way in a thread
}  // namespace assumed

struct LaunchCost {
  Launch launch;
  LaunchTime time;
};

struct OperationCost {
  RecordedOperation recorded;
  std::vector<LaunchCost> launches;  // in the order of their launches
  double seconds() const;
};

/// The launches of one operation.
std::vector<Launch> launches_of(const GpuModel& gpu, const RecordedOperation& operation);
std::vector<OperationCost> cost_of(const GpuModel& gpu, const std::vector<RecordedOperation>& operations);

// ---- By family; `o` is one of theirs ----

std::vector<Launch> conv2d_launches(const GpuModel& gpu, const RecordedOperation& o);
std::vector<Launch> attention_launches(const GpuModel& gpu, const RecordedOperation& o);
std::vector<Launch> group_norm_launches(const GpuModel& gpu, const RecordedOperation& o);

/// Issue cycles of a multiprocessor for so many instructions of each of `warps` warps.
inline double issue_cycles(double warps, double instructions) {
  return warps * instructions / GpuModel::kSchedulers;
}

/// Seconds as cycles of multiprocessors that do not use tensor cores.
inline double cycles(const GpuModel& gpu, double seconds) {
  return seconds * gpu.clock;
}

}  // namespace imago
