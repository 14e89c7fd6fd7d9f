// Time on a GPU, which runs behind the host.
#pragma once

#include <cuda_runtime_api.h>

#include <chrono>

#include "kernels/error.h"

namespace imago {

/// Returns when all streams are idle.
inline void wait_for_gpu() {
  const cudaError_t error = cudaDeviceSynchronize();
  if (error != cudaSuccess) failure("cudaDeviceSynchronize: ", cudaGetErrorString(error));
}

/// Seconds a call takes when `calls` of them are enqueued in one go. `wait` returns when the device is idle.
template <class Enqueue, class Wait>
double seconds_a_call(int calls, const Enqueue& enqueue, const Wait& wait) {
  wait();
  const auto start = std::chrono::steady_clock::now();
  for (int i = 0; i < calls; ++i) enqueue(i);
  wait();
  const std::chrono::duration<double> seconds = std::chrono::steady_clock::now() - start;
  return seconds.count() / calls;
}

/// The same for a choice among a few: one call to load the kernel, then some.
template <class Call>
double seconds_of(const Call& call) {
  call();
  return seconds_a_call(5, [&](int) { call(); }, wait_for_gpu);
}

}  // namespace imago
