// GroupNorm forward and backward: group_norm.cu and group_norm_backward.cu.
#include <algorithm>
#include <cmath>

#include "kernels/cuda/device/flat_tiling.h"
#include "kernels/cuda/norm/group_norm_tiling.h"
#include "lab/cost_model/cost_model.h"
#include "lab/cost_model/sass_table.h"

namespace imago {

using namespace tiling;

namespace {

// Blocks of 256 threads that share a multiprocessor: bench/results/cuda_resources.md.
constexpr int kForwardBlocks = 4, kBackwardBlocks = 2;

constexpr const char* kForwardKernel = "group_norm_kernel<8, true, __nv_bfloat16>";
constexpr const char* kBackwardKernel = "group_norm_sums_kernel<8, true, __nv_bfloat16>";

/// A walk over the pixels of a chunk, eight channels of a pixel a turn: with how many instructions, and with
/// how many pixels on their way. Counted with SiLU; of one channel at a time, as if it took as many.
struct Walk {
  double instructions, in_flight;
};

/// The mean, and the variance around it: two walks, both as long as the longer.
Walk moments() {
  const double pixels = sass_table().in_loop(kForwardKernel, "LDG 16", "LDG 16", "MUFU");
  return {sass_table().loop(kForwardKernel, "LDG 16", "MUFU") / pixels, pixels};
}
Walk normalise() {
  return {sass_table().loop(kForwardKernel, "STG 16"), 1};
}
Walk channel_sums() {
  return {sass_table().loop(kBackwardKernel, "MUFU", "STG 16"), 1};
}
Walk data_gradient() {
  return {sass_table().loop(kBackwardKernel, "STG 16"), 1};
}

/// A launch over slabs, chunks and images, whose blocks take these walks one after the other: the first
/// waits for device memory, the others for L2.
Launch slab_launch(const GpuModel& gpu, const Slabs& s, const Operation& o, int width, const char* name,
                   int resident, const std::vector<Walk>& walks) {
  const double turns = double(s.chunk) * s.slab / width;  // of a block's threads, all together
  const auto chain =
      static_cast<double>(ceil_div(s.chunk, s.rows)) * std::max(1, s.slab / (width * s.columns));
  Launch k;
  k.name = name;
  k.blocks = o.x.a.shape[0] * s.slabs() * s.chunks;
  k.threads = kSlabThreads;
  k.resident = resident;
  double latency = gpu.memory_latency;
  for (const Walk& walk : walks) {
    k.issue_cycles += issue_cycles(turns / 32, walk.instructions);
    k.serial_cycles += std::ceil(chain / walk.in_flight) * cycles(gpu, latency);
    latency = gpu.l2_latency;
  }
  return k;
}

}  // namespace

std::vector<Launch> group_norm_launches(const GpuModel& gpu, const RecordedOperation& recorded) {
  const Operation& o = recorded.operation;
  const bool backward = std::string(o.name) == "group_norm_backward";
  const bool eights = in_eights(o.x) && aligned16(o.y.data);
  const int width = eights ? 8 : 1;
  const Slabs s(gpu.limits, o.x.a.shape, o.x.channels() - o.x.a.shape[-1], o.norm.groups, width);
  const auto launch = [&](const char* name, const std::vector<Walk>& walks) {
    return slab_launch(gpu, s, o, width, name, backward ? kBackwardBlocks : kForwardBlocks, walks);
  };
  const auto x = static_cast<double>(o.y.bytes());  // of x, y, dy and dx each
  const auto bytes = static_cast<double>(recorded.bytes);
  const double so_far = bytes_of(o.so_far);
  const double chunk_loads =
      double(kSlabThreads) * (eights ? 8 : 1) * static_cast<double>(size_of(o.y.dtype));
  const double sums = double(o.x.a.shape[0]) * s.chunks * s.channels * 2 * sizeof(float);

  // A block that holds whole groups comes back to its pixels in L2: x twice more, or x and dy once more.
  std::vector<Launch> launches;
  if (!backward) {
    launches = {launch("group_norm", {moments(), moments(), normalise()})};
    launches[0].memory_bytes = bytes;
    launches[0].l2_bytes = 3 * x + x;
    if (s.chunks > 1) {  // moments, then a launch that normalises
      launches = {launch("group_norm moments", {moments(), moments()}),
                  launch("group_norm apply", {normalise()})};
      launches[0].memory_bytes = x, launches[0].l2_bytes = 2 * x;
      launches[1].memory_bytes = launches[1].l2_bytes = 2 * x;
    }
  } else {
    launches = {launch("group_norm_backward", {channel_sums(), data_gradient()})};
    launches[0].memory_bytes = bytes;
    launches[0].l2_bytes = 4 * x + x + so_far + sums;
    if (s.chunks > 1) {
      launches = {launch("group_norm_backward sums", {channel_sums()}),
                  launch("group_norm_backward dx", {data_gradient()})};
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
