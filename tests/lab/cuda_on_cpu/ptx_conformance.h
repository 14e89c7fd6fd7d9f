// The cases of ptx_cases.h, run in one of the two worlds. Neither world's headers are needed to compare them.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

namespace imago {

struct PtxResult {
  bool supported = false;       // by this device
  std::vector<uint32_t> words;  // what came out
  uint32_t ulps = 0;            // words are floats that may differ by so many units in the last place
  std::string error;            // what was thrown instead
};

namespace cuda {
int ptx_capability();  // 10 * major + minor of device 0, or 0 without a device
PtxResult run_ptx_case(size_t index, int capability);
}  // namespace cuda

namespace cuda_on_cpu {
std::vector<std::string> ptx_case_names();  // what needs little of the hardware first, wgmma last
PtxResult run_ptx_case(size_t index, int capability);
}  // namespace cuda_on_cpu

}  // namespace imago
