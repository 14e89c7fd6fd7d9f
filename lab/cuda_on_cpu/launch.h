// Launches as the emulator takes them: behind cudaLaunchKernelEx, and for tools that want to see them.
#pragma once

#include <functional>
#include <type_traits>

#include "lab/cuda_on_cpu/toolkit/cuda_runtime_api.h"

namespace imago::cuda_on_cpu::emu {

/// Checks the configuration as the driver does and enqueues the launch.
cudaError_t enqueue_launch(const void* kernel, dim3 grid, dim3 block, size_t shared_bytes,
                           cudaStream_t stream, std::function<void()> body, SourceLine where);
struct LaunchRequest {
  const void* kernel;
  dim3 grid, block;
  size_t shared_bytes;
};
/// From now on launches are shown to `observer` instead of being run, until it is null: what
/// operations would launch.
void observe_launches(std::function<void(const LaunchRequest&)> observer);
/// A pointer among a kernel's arguments must not point to ordinary host memory: a GPU would fault on it.
void check_argument(const void* p, SourceLine where);
template <class T>
void check_argument(const T& value, SourceLine where) {
  if constexpr (std::is_pointer_v<T>) check_argument(static_cast<const void*>(value), where);
}

}  // namespace imago::cuda_on_cpu::emu
