// The backends that test_cuda_ops runs the op table for: the CUDA kernels in emulation, as several GPUs would
// choose among them.
#include <cstdlib>

#include "tests/kernels/op_programs/gpu_variants.h"

namespace imago::test {

std::vector<BackendUnderTest> backends_under_test() {
  setenv("IMAGO_EMU_MEMORY_MB", "1024", 0);  // "far more than there is" is tried, too
  const bool many_schedules = std::getenv("IMAGO_EMU_SEED") != nullptr;  // the table is run for each
  const BackendUnderTest emulated{.backend = &cuda_on_cpu_backend(),
                                  .small_only = many_schedules,
                                  .on_host_threads = false,
                                  .emulated = true};
  std::vector<BackendUnderTest> all = cuda_on_cpu::small_gpus(90, emulated);
  all.insert(all.begin(), emulated);
  if (!many_schedules) {
    for (const BackendUnderTest& tuned : cuda_on_cpu::tuned_gpus(emulated)) all.push_back(tuned);
  }
  return all;
}

}  // namespace imago::test
