// How many blocks of a kernel a streaming multiprocessor (SM) can hold at once.
#pragma once

#include <string>

namespace imago::cuda_resources {

/// What the blocks on an SM share: CUDA C++ Programming Guide, "Compute
/// Capabilities", technical specifications.
struct Multiprocessor {
  int warps, blocks;
  int shared_bytes;
  int registers = 65536;
};

/// Of "sm_80" (A100), "sm_90a" (H100), "sm_120" (RTX 50); throws Error for others.
Multiprocessor multiprocessor(const std::string& architecture);

/// blocks = the least of what threads, registers and shared memory allow. Registers are handed out to
/// warps in units of 256, a quarter of the file to each of the SM's four schedulers; every block costs 1
/// KiB of shared memory more.
int blocks_per_multiprocessor(const Multiprocessor& sm, int threads, int registers, size_t shared_bytes);

}  // namespace imago::cuda_resources
