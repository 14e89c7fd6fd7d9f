// What a launcher needs to know about the GPU besides its operands, and how CUDA's error codes become
// messages.
#pragma once

#include <cstddef>

#include "kernels/cuda/device/launch.h"
#include "kernels/cuda/runtime/gpu_limits.h"
#include "kernels/error.h"

namespace imago::IMAGO_CUDA_NAMESPACE {

using namespace tiling;  // how work is cut into blocks: host arithmetic that knows no CUDA

/// One device and the one stream on which all its work is ordered.
struct Gpu : GpuLimits {
  cudaStream_t stream = nullptr;
  class Autotuner* autotuner = nullptr;  // none: the rules decide
};

/// "out of GPU memory (cudaMalloc): 12.0 MiB of 79.2 GiB are free; ..." or "cudaMalloc: an illegal ...".
[[noreturn]] void cuda_failure(cudaError_t error, const char* call);

/// Throws unless the call succeeded; the message names the call and says what to do.
inline void checked(cudaError_t error, const char* call) {
  if (error != cudaSuccess) cuda_failure(error, call);
}
#define IMAGO_CUDA(call) ::imago::IMAGO_CUDA_NAMESPACE::checked((call), #call)

}  // namespace imago::IMAGO_CUDA_NAMESPACE
