// Compiled twice, as every .cu file: imago::cuda::run_ptx_case and imago::cuda_on_cpu::run_ptx_case.
#include "tests/lab/cuda_on_cpu/ptx_cases.h"
#include "tests/lab/cuda_on_cpu/ptx_conformance.h"

namespace imago::IMAGO_CUDA_NAMESPACE {
namespace {

const std::vector<PtxCase>& cases() {
  static const std::vector<PtxCase> all = all_ptx_cases();
  return all;
}

}  // namespace

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
#else
std::vector<std::string> ptx_case_names() {
  std::vector<std::string> names;
  for (const PtxCase& c : cases()) names.push_back(c.name);
  return names;
}
#endif

PtxResult run_ptx_case(size_t index, int capability) {
  const PtxCase& c = cases().at(index);
  PtxResult r;
  r.ulps = c.ulps;
  r.supported = c.capability == 91 ? capability == 90 : capability >= c.capability;
  try {
    if (r.supported) r.words = c.run();
  } catch (const std::exception& e) {
    r.error = e.what();
  }
  return r;
}

}  // namespace imago::IMAGO_CUDA_NAMESPACE
