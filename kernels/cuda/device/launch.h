// What every .cu file includes first: CUDA itself under nvcc, its emulation under a host compiler, and the
// few spellings in which they differ: shared memory declarations and launches.
//
//   namespace imago::IMAGO_CUDA_NAMESPACE {    // `cuda` or `cuda_on_cpu`: one program can hold both
//   __global__ void scale(float* x, float a, int n) {
//     IMAGO_SHARED(float, tile, [8][128]);                      // __shared__ float tile[8][128];
//     IMAGO_DYNAMIC_SHARED(ring);                               // extern __shared__ unsigned char ring[];
//     ...
//   }
//   launch(scale, {.grid = 10, .block = 128, .stream = stream}, x, 2.0f, n);
#pragma once

#include <cstddef>
#include <tuple>
#include <utility>

#include "kernels/cuda/source_line.h"
#include "kernels/error.h"

#ifdef __CUDACC__
#include <cuda_bf16.h>
#include <cuda_runtime.h>
#define IMAGO_CUDA_NAMESPACE cuda
#define IMAGO_SHARED(type, name, extents) __shared__ __align__(128) type name extents
#define IMAGO_DYNAMIC_SHARED(name) extern __shared__ __align__(1024) unsigned char name[]
#else
#include "lab/cuda_on_cpu/device.h"
#include "lab/cuda_on_cpu/intrinsics.h"
#include "lab/cuda_on_cpu/toolkit/cuda_bf16.h"
#include "lab/cuda_on_cpu/toolkit/cuda_runtime_api.h"
#define IMAGO_CUDA_NAMESPACE cuda_on_cpu
#define IMAGO_SHARED(type, name, extents)                       \
  using name##_shared_type = type extents;                      \
  static const char name##_shared_key = 0;                      \
  name##_shared_type& name = *static_cast<name##_shared_type*>( \
      ::imago::cuda_on_cpu::emu::static_shared(&name##_shared_key, #name, sizeof(name##_shared_type), 128))
#define IMAGO_DYNAMIC_SHARED(name) \
  unsigned char* const name = static_cast<unsigned char*>(::imago::cuda_on_cpu::emu::dynamic_shared())
#endif

// Code with instructions of one architecture family is guarded by these. The emulator has them all.
#if !defined(__CUDACC__) || (defined(__CUDA_ARCH__) && __CUDA_ARCH__ >= 900)
#define IMAGO_HAS_TMA 1
#else
#define IMAGO_HAS_TMA 0
#endif
#if !defined(__CUDACC__) || defined(__CUDA_ARCH_FEAT_SM90_ALL)
#define IMAGO_HAS_WGMMA 1
#else
#define IMAGO_HAS_WGMMA 0
#endif

namespace imago::IMAGO_CUDA_NAMESPACE {

/// Throws when a runtime call did not succeed. `what` says what was tried: "allocating 512 MiB".
inline void cuda_check(cudaError_t error, const char* what, SourceLine where = SourceLine::current()) {
  if (error != cudaSuccess)
    failure("CUDA: ", what, " failed: ", cudaGetErrorString(error), " (", where.file, ":", where.line, ")");
}

struct LaunchConfig {
  dim3 grid = 1, block = 1;
  size_t shared_bytes = 0;  // dynamic; anything over 48 KiB is asked for as needed
  cudaStream_t stream = nullptr;
  SourceLine where = SourceLine::current();
};

/// Launches kernel<<<grid, block, shared_bytes, stream>>>(args...) and checks that the launch was accepted.
template <class... Parameters, class... Args>
void launch(void (*kernel)(Parameters...), const LaunchConfig& c, Args&&... args) {
  static_assert(sizeof...(Parameters) == sizeof...(Args), "as many arguments as the kernel has parameters");
  static_assert((sizeof(Parameters) + ... + 0) <= 4096, "CUDA passes at most 4 KiB of parameters");
  if (c.shared_bytes > 48 * 1024)
    cuda_check(cudaFuncSetAttribute(kernel, cudaFuncAttributeMaxDynamicSharedMemorySize,
                                    static_cast<int>(c.shared_bytes)),
               "asking for dynamic shared memory", c.where);
#ifdef __CUDACC__
  kernel<<<c.grid, c.block, c.shared_bytes, c.stream>>>(std::forward<Args>(args)...);
  cuda_check(cudaGetLastError(), "launching a kernel", c.where);
#else
  std::tuple<Parameters...> parameters(static_cast<Parameters>(std::forward<Args>(args))...);
  std::apply([&](const auto&... p) { (emu::check_argument(p, c.where), ...); }, parameters);
  auto body = [kernel, parameters] { std::apply(kernel, parameters); };
  cuda_check(emu::enqueue_launch(reinterpret_cast<const void*>(kernel), c.grid, c.block, c.shared_bytes,
                                 c.stream, body, c.where),
             "launching a kernel", c.where);
#endif
}

}  // namespace imago::IMAGO_CUDA_NAMESPACE
