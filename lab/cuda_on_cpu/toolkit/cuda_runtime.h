// The emulator's <cuda_runtime.h>: what CUDA C++ adds to C++, the runtime API, shared memory and launches.
#pragma once

#include <tuple>
#include <utility>

#include "lab/cuda_on_cpu/device.h"
#include "lab/cuda_on_cpu/intrinsics.h"
#include "lab/cuda_on_cpu/launch.h"

// The bodies of kernels/cuda/device/launch.h's macros. An array's name becomes a reference into memory that
// is filled with NaN, fenced by red zones and addressed in 18 bits.
#define IMAGO_SHARED(type, name, extents)                       \
  using name##_shared_type = type extents;                      \
  static const char name##_shared_key = 0;                      \
  name##_shared_type& name = *static_cast<name##_shared_type*>( \
      ::imago::cuda_on_cpu::emu::static_shared(&name##_shared_key, #name, sizeof(name##_shared_type), 128))
#define IMAGO_DYNAMIC_SHARED(name) \
  unsigned char* const name = static_cast<unsigned char*>(::imago::cuda_on_cpu::emu::dynamic_shared())

namespace imago::cuda_on_cpu {

template <class... Parameters, class... Args>
cudaError_t cudaLaunchKernelEx(const cudaLaunchConfig_t* config, void (*kernel)(Parameters...),
                               Args&&... args) {
  std::tuple<Parameters...> parameters(static_cast<Parameters>(std::forward<Args>(args))...);
  std::apply([&](const auto&... p) { (emu::check_argument(p, config->where), ...); }, parameters);
  return emu::enqueue_launch(
      reinterpret_cast<const void*>(kernel), config->gridDim, config->blockDim, config->dynamicSmemBytes,
      config->stream, [kernel, parameters] { std::apply(kernel, parameters); }, config->where);
}

}  // namespace imago::cuda_on_cpu
