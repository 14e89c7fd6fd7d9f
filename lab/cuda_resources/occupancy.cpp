#include "lab/cuda_resources/occupancy.h"

#include <algorithm>

#include "kernels/error.h"

namespace imago::cuda_resources {

Multiprocessor multiprocessor(const std::string& architecture) {
  if (architecture == "sm_80") return {.warps = 64, .blocks = 32, .shared_bytes = 164 << 10};
  if (architecture == "sm_90a") return {.warps = 64, .blocks = 32, .shared_bytes = 228 << 10};
  if (architecture == "sm_120") return {.warps = 48, .blocks = 24, .shared_bytes = 100 << 10};
  failure("nothing is known of the multiprocessors of ", architecture);
}

int blocks_per_multiprocessor(const Multiprocessor& sm, int threads, int registers, size_t shared_bytes) {
  constexpr int kSchedulers = 4, kRegisterUnit = 256, kSharedUnit = 128, kSharedOfSystem = 1024;
  const auto in_units = [](int n, int unit) { return (n + unit - 1) / unit * unit; };
  const int warps = (threads + 31) / 32;
  const int registers_of_warp = in_units(std::max(registers, 1) * 32, kRegisterUnit);
  const int warps_by_registers = sm.registers / kSchedulers / registers_of_warp * kSchedulers;
  const int shared = in_units(static_cast<int>(shared_bytes) + kSharedOfSystem, kSharedUnit);
  return std::min({sm.blocks, sm.warps / warps, warps_by_registers / warps, sm.shared_bytes / shared});
}

}  // namespace imago::cuda_resources
