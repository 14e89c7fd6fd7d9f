// What every .cu file includes first: the language, shared memory, and launches.
//
//   namespace imago::IMAGO_CUDA_NAMESPACE {    // `cuda` or `cuda_on_cpu`: see cuda_api.h
//   __global__ void scale(float* x, float a, int n) {
//     IMAGO_SHARED(float, tile, [8][128]);                      // __shared__ float tile[8][128];
//     IMAGO_DYNAMIC_SHARED(ring);                               // extern __shared__ unsigned char ring[];
//     ...
//   }
//   launch(scale, {.grid = 10, .block = 128, .stream = stream}, x, 2.0f, n);
#pragma once

#include <cuda_bf16.h>
#include <cuda_runtime.h>

#include <cstddef>
#include <mutex>
#include <unordered_map>
#include <utility>

#include "kernels/cuda/device/launch_log.h"
#include "kernels/cuda/runtime/cuda_api.h"

#ifndef IMAGO_SHARED  // an emulator brings its own
#define IMAGO_SHARED(type, name, extents) __shared__ __align__(128) type name extents
#define IMAGO_DYNAMIC_SHARED(name) extern __shared__ __align__(1024) unsigned char name[]
#endif

// Code with instructions of one architecture family is guarded by these. The emulator has them all.
#if defined(IMAGO_CUDA_ON_CPU) || (defined(__CUDA_ARCH__) && __CUDA_ARCH__ >= 900)
#define IMAGO_HAS_TMA 1
#else
#define IMAGO_HAS_TMA 0
#endif
#if defined(IMAGO_CUDA_ON_CPU) || defined(__CUDA_ARCH_FEAT_SM90_ALL)
#define IMAGO_HAS_WGMMA 1
#else
#define IMAGO_HAS_WGMMA 0
#endif

namespace imago::IMAGO_CUDA_NAMESPACE {

struct LaunchConfig {
  dim3 grid = 1, block = 1;
  size_t shared_bytes = 0;  // dynamic; anything over 48 KiB is asked for as needed
  cudaStream_t stream = nullptr;
  SourceLine where = SourceLine::current();
};

/// Lets `kernel` have so much dynamic shared memory. What a kernel may have only ever grows: a captured graph
/// can hold a launch that needs more than the latest one.
inline void allow_shared_memory(const void* kernel, size_t bytes, SourceLine where) {
  static std::mutex mutex;
  static std::unordered_map<const void*, size_t> allowed;
  const std::lock_guard lock(mutex);
  size_t& most = allowed[kernel];
  if (bytes <= most) return;
  checked(cudaFuncSetAttribute(kernel, cudaFuncAttributeMaxDynamicSharedMemorySize, static_cast<int>(bytes)),
          "asking for dynamic shared memory", where);
  most = bytes;
}

/// Launches kernel<<<grid, block, shared_bytes, stream>>>(args...) and checks that the launch was accepted.
template <class... Parameters, class... Args>
void launch(void (*kernel)(Parameters...), const LaunchConfig& c, Args&&... args) {
  static_assert(sizeof...(Parameters) == sizeof...(Args), "as many arguments as the kernel has parameters");
  static_assert((sizeof(Parameters) + ... + 0) <= 4096, "CUDA passes at most 4 KiB of parameters");
  const void* const address = reinterpret_cast<const void*>(kernel);
  if (c.shared_bytes > 48 * 1024) allow_shared_memory(address, c.shared_bytes, c.where);
  if (prints_launches()) print_launch(address, c.grid, c.block, c.shared_bytes, c.where);
  cudaLaunchConfig_t config = {};
  config.gridDim = c.grid;
  config.blockDim = c.block;
  config.dynamicSmemBytes = c.shared_bytes;
  config.stream = c.stream;
#ifdef IMAGO_CUDA_ON_CPU
  config.where = c.where;
#endif
  checked(cudaLaunchKernelEx(&config, kernel, std::forward<Args>(args)...), "launching a kernel", c.where);
}

}  // namespace imago::IMAGO_CUDA_NAMESPACE
