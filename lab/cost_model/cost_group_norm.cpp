// GroupNorm forward and backward: group_norm.cu and group_norm_backward.cu.
#include <algorithm>

#include "kernels/cuda/device/flat_tiling.h"
#include "kernels/cuda/norm/group_norm_tiling.h"
#include "lab/cost_model/cost_model.h"

namespace imago {

using namespace tiling;

namespace {

// Blocks of 256 threads that share a multiprocessor, by their registers: assumed, not measured.
constexpr int kForwardBlocks = 4, kBackwardBlocks = 2;

/// A launch over slabs, chunks and images. Elements are gone over `passes` times, `sigmoids` of them
/// with a SiLU.
Launch slab_launch(const Slabs& s, const Operation& o, const char* name, int resident, double passes,
                   double sigmoids) {
  const double elements = double(s.chunk) * s.slab;  // of a block
  Launch k;
  k.name = name;
  k.blocks = o.x.a.shape[0] * s.slabs() * s.chunks;
  k.threads = kSlabThreads;
  k.resident = resident;
  if (o.norm.activation != Activation::kSilu) sigmoids = 0;
  k.issue_cycles =
      elements * (passes * assumed::kNormalise + sigmoids * assumed::kSilu) / GpuModel::kLanesPerCycle;
  return k;
}

}  // namespace

std::vector<Launch> group_norm_launches(const GpuModel& gpu, const RecordedOperation& recorded) {
  const Operation& o = recorded.operation;
  const bool backward = std::string(o.name) == "group_norm_backward";
  const bool eights = in_eights(o.x) && aligned16(o.y.data);
  const Slabs s(gpu.limits, o.x.a.shape, o.x.channels() - o.x.a.shape[-1], o.norm.groups, eights ? 8 : 1);
  const auto x = static_cast<double>(o.y.bytes());  // of x, y, dy and dx each
  const auto bytes = static_cast<double>(recorded.bytes);
  const double so_far = bytes_of(o.so_far);
  const double chunk_loads =
      double(kSlabThreads) * (eights ? 8 : 1) * static_cast<double>(size_of(o.y.dtype));
  const double sums = double(o.x.a.shape[0]) * s.chunks * s.channels * 2 * sizeof(float);

  // A block that holds whole groups comes back to its pixels in L2: x twice more, or x and dy once more.
  std::vector<Launch> launches;
  if (!backward) {
    launches = {slab_launch(s, o, "group_norm", kForwardBlocks, 3, 1)};
    launches[0].memory_bytes = bytes;
    launches[0].l2_bytes = 3 * x + x;
    if (s.chunks > 1) {  // moments, then a launch that normalises
      launches = {slab_launch(s, o, "group_norm moments", kForwardBlocks, 2, 0),
                  slab_launch(s, o, "group_norm apply", kForwardBlocks, 1, 1)};
      launches[0].memory_bytes = x, launches[0].l2_bytes = 2 * x;
      launches[1].memory_bytes = launches[1].l2_bytes = 2 * x;
    }
  } else {
    launches = {slab_launch(s, o, "group_norm_backward", kBackwardBlocks, 3, 2)};
    launches[0].memory_bytes = bytes;
    launches[0].l2_bytes = 4 * x + x + so_far + sums;
    if (s.chunks > 1) {
      launches = {slab_launch(s, o, "group_norm_backward sums", kBackwardBlocks, 1.5, 1),
                  slab_launch(s, o, "group_norm_backward dx", kBackwardBlocks, 1.5, 1)};
      launches[0].memory_bytes = launches[0].l2_bytes = 2 * x;
      launches[1].memory_bytes = launches[1].l2_bytes = 3 * x + so_far;
    }
  }
  for (Launch& k : launches) k.in_flight = chunk_loads * (backward ? 2 : 1);
  launches.back().useful_bytes = bytes;

  if (backward) {  // sums over images: chains of loads, one after the other
    const auto chain = static_cast<double>(ceil_div(o.x.a.shape[0], kParameterRows) * s.chunks);
    Launch k;
    k.name = "group_norm_parameters";
    k.blocks = ceil_div(s.channels, kParameterChannels);
    k.threads = kParameterThreads;
    k.resident = gpu.threads_per_sm / k.threads;
    k.serial_cycles = cycles(gpu, gpu.l2_latency) * chain;
    k.l2_bytes = sums;
    launches.push_back(k);
  }
  return launches;
}

}  // namespace imago
