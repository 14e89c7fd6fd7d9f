// What a launcher needs to know about the GPU besides its operands.
#pragma once

#include "kernels/cuda/runtime/cuda_api.h"
#include "kernels/cuda/runtime/gpu_limits.h"

namespace imago::IMAGO_CUDA_NAMESPACE {

using namespace tiling;  // how work is cut into blocks: host arithmetic that knows no CUDA

/// One device and the one stream on which all its work is ordered.
struct Gpu : GpuLimits {
  cudaStream_t stream = nullptr;
  class Autotuner* autotuner = nullptr;  // none: the rules decide
};

}  // namespace imago::IMAGO_CUDA_NAMESPACE
