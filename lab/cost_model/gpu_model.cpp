#include "lab/cost_model/gpu_model.h"

#include <algorithm>
#include <cmath>
#include <vector>

#include "kernels/error.h"

namespace imago {

namespace {

// From data sheets, except:
//   * tensor_clock, launch, latencies, l2_bandwidth: assumed, not measured. An H100 at 1.60 GHz could do 865
//     TFLOP/s, of which cuBLAS reaches 92 % (798 at 8192^3 on random data);
//   * mma_sync_share of the H100: 62.9 % (Luo et al. 2024, arXiv 2402.13499);
//   * memory_bandwidth: 3.0 TB/s for a copy on an H100; 90 % of the data sheet elsewhere, assumed, not
//   measured.
const std::vector<GpuModel>& gpus() {
  static const std::vector<GpuModel> list = {
      {.key = "h100",
       .title = "NVIDIA H100 SXM",
       .limits = {.sms = 132, .capability = 90, .shared_bytes = 227 << 10},
       .clock = 1.755e9,
       .tensor_clock = 1.60e9,
       .tensor_flops = 4096,
       .mma_sync_share = 0.629,
       .memory_bandwidth = 3.0e12,
       .l2_bandwidth = 5.5e12,
       .l2_size = 50e6,
       .memory_latency = 0.6e-6,
       .l2_latency = 0.16e-6,
       .launch = 1.0e-6,
       .threads_per_sm = 2048,
       .shared_per_sm = 228 << 10},
      {.key = "a100",
       .title = "NVIDIA A100 SXM 80 GB",
       .limits = {.sms = 108, .capability = 80, .shared_bytes = 163 << 10},
       .clock = 1.41e9,
       .tensor_clock = 1.35e9,
       .tensor_flops = 2048,
       .mma_sync_share = 1,
       .memory_bandwidth = 1.8e12,
       .l2_bandwidth = 4.5e12,
       .l2_size = 40e6,
       .memory_latency = 0.5e-6,
       .l2_latency = 0.15e-6,
       .launch = 1.2e-6,
       .threads_per_sm = 2048,
       .shared_per_sm = 164 << 10},
      {.key = "4090",
       .title = "NVIDIA GeForce RTX 4090",
       .limits = {.sms = 128, .capability = 89, .shared_bytes = 99 << 10},
       .clock = 2.52e9,
       .tensor_clock = 2.40e9,
       .tensor_flops = 512,
       .mma_sync_share = 1,
       .memory_bandwidth = 0.91e12,
       .l2_bandwidth = 5.0e12,
       .l2_size = 72e6,
       .memory_latency = 0.5e-6,
       .l2_latency = 0.12e-6,
       .launch = 1.0e-6,
       .threads_per_sm = 1536,
       .shared_per_sm = 100 << 10},
      {.key = "5090",
       .title = "NVIDIA GeForce RTX 5090",
       .limits = {.sms = 170, .capability = 120, .shared_bytes = 99 << 10},
       .clock = 2.41e9,
       .tensor_clock = 2.30e9,
       .tensor_flops = 512,
       .mma_sync_share = 1,
       .memory_bandwidth = 1.61e12,
       .l2_bandwidth = 6.5e12,
       .l2_size = 96e6,
       .memory_latency = 0.5e-6,
       .l2_latency = 0.12e-6,
       .launch = 1.0e-6,
       .threads_per_sm = 1536,
       .shared_per_sm = 100 << 10},
  };
  return list;
}

/// The multiprocessors' side of a kernel.
struct TileTimes {
  double start;         // cycles before the first tile
  double busy, serial;  // cycles of one tile
  double together(double r) const { return std::max(r * busy, busy + serial); }

  /// Cycles until the last of `tiles` has ended, where `sms` hold `resident` each.
  double all(int64_t tiles, int64_t sms, int64_t resident) const {
    const int64_t places = sms * resident, rest = tiles % places;
    const double full = static_cast<double>(tiles / places) * together(static_cast<double>(resident));
    return start + full + (rest ? together(static_cast<double>(tiling::ceil_div(rest, sms))) : 0);
  }
  /// The same, were the tiles as fine as sand.
  double even(int64_t tiles, int64_t sms, int64_t resident) const {
    const auto r = static_cast<double>(std::min(resident, tiling::ceil_div(tiles, sms)));
    return start + static_cast<double>(tiles) * together(r) / (static_cast<double>(sms) * r);
  }
};

const char* limit_of(const Launch& k, const TileTimes& tile, double issue, double tail_share) {
  if (tail_share > 0.25) return "waves";
  if (tile.serial > tile.busy && tile.together(k.resident) > k.resident * tile.busy) return "latency";
  if (issue >= std::max(k.tensor_cycles, k.shared_cycles)) return "issue";
  return k.shared_cycles > k.tensor_cycles ? "shared" : "tensor";
}

}  // namespace

const GpuModel& gpu_model(const std::string& key) {
  std::string known;
  for (const GpuModel& gpu : gpus()) {
    if (gpu.key == key) return gpu;
    known += (known.empty() ? "" : ", ") + gpu.key;
  }
  bad_input("--gpu ", key, ": expected one of ", known);
}

LaunchTime time_of(const GpuModel& gpu, const Launch& k) {
  const double clock = k.roof > GpuModel::kFloatFlopsPerCycle ? gpu.tensor_clock : gpu.clock;
  const int64_t sms = gpu.limits.sms;
  const double chip = clock * gpu.limits.sms;  // cycles/s of all multiprocessors
  const double roof = k.roof * chip;           // FLOP/s
  const auto blocks = static_cast<double>(k.blocks);
  const int64_t tiles = k.all_tiles();
  const double issue = k.issue_cycles / gpu.issue_share;
  const TileTimes tile{k.start_cycles, std::max({k.tensor_cycles, k.shared_cycles, issue}), k.serial_cycles};

  // Bytes on their way limit the bandwidth: Little's law.
  const double flying = k.in_flight * std::min(blocks, static_cast<double>(sms * k.resident));
  const auto bandwidth = [&](double most, double latency) {
    return k.in_flight > 0 ? std::min(most, flying / latency) : most;
  };
  const double memory = k.memory_bytes / bandwidth(gpu.memory_bandwidth, gpu.memory_latency);
  const double l2 = k.l2_bytes / bandwidth(gpu.l2_bandwidth, gpu.l2_latency);

  // From the lower bound to the whole, one reason after the other.
  const double useful = std::max(roof > 0 ? k.useful_flops / roof : 0, k.useful_bytes / gpu.memory_bandwidth);
  const double padded =
      std::max({useful, roof > 0 ? k.flops / roof : 0, k.memory_bytes / gpu.memory_bandwidth});
  const double fed =
      std::max({padded, static_cast<double>(tiles) * tile.busy / chip, k.l2_bytes / gpu.l2_bandwidth});
  const double even = tile.even(tiles, sms, k.resident) / clock;
  const double on_sms = tile.all(tiles, sms, k.resident) / clock;
  const double moved = gpu.memory_latency + std::max(memory, l2);
  const double waited = std::max({fed, even, moved});
  const double all = std::max(waited, on_sms);

  LaunchTime t;
  t.launch = gpu.launch;
  t.waves = static_cast<double>(tiles) / static_cast<double>(sms * k.resident);
  t.utilisation = on_sms > 0 ? even / on_sms : 1;
  if (useful > 0) {
    t.lower_bound = useful, t.padding = padded - useful, t.operands = fed - padded;
    t.latency = waited - fed, t.tail = all - waited;
  } else {
    t.passes = all;
  }
  if (all < gpu.launch)
    t.limit = "launch";
  else if (on_sms >= moved)
    t.limit = limit_of(k, tile, issue, (on_sms - even) / on_sms);
  else if (moved > 2 * fed)
    t.limit = "latency";
  else
    t.limit = l2 > memory ? "L2" : "memory";
  return t;
}

}  // namespace imago
