// The backends that test_cuda_ops runs the op table for: the CUDA kernels in emulation, as several GPUs would
// choose among them.
#include <cstdlib>

#include "tests/kernels/op_programs/small_gpus.h"

namespace imago::test {

std::vector<BackendUnderTest> backends_under_test() {
  setenv("IMAGO_EMU_MEMORY_MB", "1024", 0);                          // "far more than there is" is tried, too
  const bool small_only = std::getenv("IMAGO_EMU_SEED") != nullptr;  // many runs of the shuffled schedules
  std::vector<Backend*> backends = cuda_on_cpu::small_gpus(90);
  backends.insert(backends.begin(), &cuda_on_cpu_backend());
  std::vector<BackendUnderTest> entries;
  for (Backend* b : backends) {
    entries.push_back({.backend = b, .small_only = small_only, .on_host_threads = false, .emulated = true});
  }
  return entries;
}

}  // namespace imago::test
