// Compiled twice, as every .cu file: imago::cuda::run_ptx_cases and imago::cuda_on_cpu::run_ptx_cases.
#include "tests/lab/cuda_on_cpu/ptx_conformance.h"

#include "tests/lab/cuda_on_cpu/ptx_cases.h"

namespace imago::IMAGO_CUDA_NAMESPACE {

#ifdef __CUDACC__
int ptx_capability() {
  int devices = 0, major = 0, minor = 0;
  if (cudaGetDeviceCount(&devices) != cudaSuccess || devices == 0) return 0;
  checked(cudaDeviceGetAttribute(&major, cudaDevAttrComputeCapabilityMajor, 0),
          "asking for the compute capability");
  checked(cudaDeviceGetAttribute(&minor, cudaDevAttrComputeCapabilityMinor, 0),
          "asking for the compute capability");
  return 10 * major + minor;
}
#endif

std::vector<PtxResult> run_ptx_cases(int capability) {
  std::vector<PtxResult> results;
  for (const PtxCase& c : all_ptx_cases()) {
    PtxResult r;
    r.name = c.name, r.ulps = c.ulps;
    r.supported = c.capability == 91 ? capability == 90 : capability >= c.capability;
    try {
      if (r.supported) r.words = c.run();
    } catch (const std::exception& e) {
      r.error = e.what();
    }
    results.push_back(std::move(r));
  }
  return results;
}

}  // namespace imago::IMAGO_CUDA_NAMESPACE
