// ptx_conformance [--list | --case N]: every wrapper of ptx.h on a GPU against its host body on the emulator,
// bit by bit (or within the ulps that the instruction is specified to). --list names the cases; --case runs
// the N-th of them, from 0, alone: one that hangs or breaks the GPU's context spoils no other. A case is
// named before it runs. Exit 0: all agree; 1: some do not; 2: bad arguments; 3: there is no GPU.
#include "tests/lab/cuda_on_cpu/ptx_conformance.h"

#include <cstdio>
#include <cstdlib>
#include <cstring>

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

int run_cases(size_t first, size_t last, const std::vector<std::string>& names) {
  const int capability = imago::cuda::ptx_capability();
  if (capability == 0) return std::printf("ptx_conformance: no CUDA device\n"), 3;
  int agree = 0, differ = 0, skipped = 0;
  for (size_t i = first; i < last; ++i) {
    std::printf("%-50s  ", names[i].c_str());
    const imago::PtxResult gpu = imago::cuda::run_ptx_case(i, capability);
    const std::string v =
        gpu.supported ? verdict(gpu, imago::cuda_on_cpu::run_ptx_case(i, capability)) : "not on this GPU";
    std::printf("%s\n", v.c_str());
    ++(v == "same" ? agree : gpu.supported ? differ : skipped);
  }
  if (last - first > 1)
    std::printf("sm_%d: %d agree, %d differ, %d skipped\n", capability, agree, differ, skipped);
  return differ != 0;
}

}  // namespace

int main(int argc, char** argv) {
  std::setvbuf(stdout, nullptr, _IONBF, 0);
  const std::vector<std::string> names = imago::cuda_on_cpu::ptx_case_names();
  if (argc == 1) return run_cases(0, names.size(), names);
  if (argc == 2 && std::strcmp(argv[1], "--list") == 0) {
    for (const std::string& name : names) std::printf("%s\n", name.c_str());
    return 0;
  }
  char* end = nullptr;
  const unsigned long n =
      argc == 3 && std::strcmp(argv[1], "--case") == 0 ? std::strtoul(argv[2], &end, 10) : 0;
  if (!end || end == argv[2] || *end || n >= names.size())
    return std::fprintf(stderr, "ptx_conformance: expected --list or --case 0..%zu\n", names.size() - 1), 2;
  return run_cases(n, n + 1, names);
}
