// The variants of the first real GPU, for test_gpu_ops.
#include "tests/kernels/op_programs/gpu_variants.h"

namespace imago::test {

std::vector<BackendUnderTest> gpu_variants(const BackendUnderTest& entry) {
  const int capability = static_cast<cuda::CudaBackend*>(entry.backend)->gpu().capability;
  std::vector<BackendUnderTest> all = cuda::small_gpus(capability, entry);
  for (const BackendUnderTest& tuned : cuda::tuned_gpus(entry)) all.push_back(tuned);
  return all;
}

}  // namespace imago::test
