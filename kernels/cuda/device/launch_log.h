// Which kernels a program launches, for when one of them does not come back: with IMAGO_PRINT_LAUNCHES=1 in
// the environment each is named on stderr before it starts. With CUDA's own CUDA_LAUNCH_BLOCKING=1 beside it
// the host waits for every kernel, so that the last one named is the one that hangs or fails.
#pragma once

#include <cxxabi.h>

#include <cstdio>
#include <cstdlib>
#include <cstring>

#include "kernels/cuda/runtime/cuda_api.h"

namespace imago::IMAGO_CUDA_NAMESPACE {

inline bool prints_launches() {
  static const bool asked_for = [] {
    const char* value = std::getenv("IMAGO_PRINT_LAUNCHES");
    return value && std::strcmp(value, "1") == 0;
  }();
  return asked_for;
}

/// "launch conv2d_hopper.cu:280 grid 132x1x1 block 384x1x1 shared 215104", and on a GPU the kernel's name.
inline void print_launch([[maybe_unused]] const void* kernel, dim3 grid, dim3 block, size_t shared_bytes,
                         SourceLine where) {
  const char* const slash = std::strrchr(where.file, '/');
  const char* name = nullptr;
  char* readable = nullptr;
#ifndef IMAGO_CUDA_ON_CPU
  if (cudaFuncGetName(&name, kernel) != cudaSuccess) cudaGetLastError(), name = nullptr;
  if (name) readable = abi::__cxa_demangle(name, nullptr, nullptr, nullptr);
#endif
  std::fprintf(stderr, "launch %s:%d grid %ux%ux%u block %ux%ux%u shared %zu%s%s\n",
               slash ? slash + 1 : where.file, where.line, grid.x, grid.y, grid.z, block.x, block.y, block.z,
               shared_bytes, name ? " " : "",
               readable ? readable
               : name   ? name
                        : "");
  std::free(readable);
}

}  // namespace imago::IMAGO_CUDA_NAMESPACE
