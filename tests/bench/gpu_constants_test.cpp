// The kernels that measure a GPU, on the emulator: times mean nothing there, but every measurement is taken,
// and none divides by a time or a count that is not there.
#include "bench/cuda/gpu_constants.h"

#include <gtest/gtest.h>

#include <cmath>
#include <map>

namespace imago {
namespace {

TEST(GpuConstants, EachIsMeasured) {
  const ConstantsWork little{.multiprocessors = 2,
                             .copied_bytes = 1 << 16,
                             .l2_bytes = 1 << 14,
                             .chased_bytes = 1 << 15,
                             .chase_steps = 500,
                             .repeats = 1,
                             .launches = 5,
                             .products = 8};
  std::map<std::string, double> found;
  cuda_on_cpu::measure_gpu_constants(little, [&](const GpuConstant& c) { found[c.name] = c.value; });
  for (const char* name : {"memory_bandwidth", "l2_bandwidth", "l2_latency", "memory_latency", "launch",
                           "clock", "mma_sync_clock", "mma_sync_flops", "tensor_clock", "tensor_flops"}) {
    ASSERT_TRUE(found.contains(name)) << name;
    EXPECT_TRUE(std::isfinite(found[name]) && found[name] > 0) << name << " = " << found[name];
  }
}

}  // namespace
}  // namespace imago
