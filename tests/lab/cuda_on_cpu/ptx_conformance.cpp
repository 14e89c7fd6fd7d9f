// ptx_conformance: every wrapper of ptx.h on a GPU against its host body on the emulator, bit by bit
// (or within the ulps that the instruction is specified to). Exit 0: all agree; 1: some do not; 3:
// there is no GPU.
#include "tests/lab/cuda_on_cpu/ptx_conformance.h"

#include <cstdio>

namespace {

std::string verdict(const imago::PtxResult& gpu, const imago::PtxResult& host) {
  if (!gpu.error.empty()) return "FAILS on the GPU: " + gpu.error;
  if (!host.error.empty()) return "FAILS on the emulator: " + host.error;
  if (gpu.words.size() != host.words.size()) return "DIFFERS in size";
  for (size_t i = 0; i < gpu.words.size(); ++i) {
    const uint32_t a = gpu.words[i], b = host.words[i];
    if ((a > b ? a - b : b - a) > host.ulps) {
      char text[128];
      std::snprintf(text, sizeof text, "DIFFERS at word %zu: %08x on the GPU, %08x on the emulator", i, a, b);
      return text;
    }
  }
  return "same";
}

}  // namespace

int main() {
  const int capability = imago::cuda::ptx_capability();
  if (capability == 0) return std::printf("ptx_conformance: no CUDA device\n"), 3;
  const auto gpu = imago::cuda::run_ptx_cases(capability),
             host = imago::cuda_on_cpu::run_ptx_cases(capability);
  int agree = 0, differ = 0, skipped = 0;
  for (size_t i = 0; i < gpu.size(); ++i) {
    const std::string v = gpu[i].supported ? verdict(gpu[i], host[i]) : "not on this GPU";
    std::printf("%-50s %s\n", gpu[i].name.c_str(), v.c_str());
    ++(v == "same" ? agree : gpu[i].supported ? differ : skipped);
  }
  std::printf("sm_%d: %d agree, %d differ, %d skipped\n", capability, agree, differ, skipped);
  return differ != 0;
}
