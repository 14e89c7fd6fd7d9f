// Where a producer (TMA) or a consumer (tensor cores) stands in a ring of stages.
#pragma once

#include "kernels/cuda/device/launch.h"

namespace imago::IMAGO_CUDA_NAMESPACE {

/// The stage, and the parity of the lap.
struct RingPosition {
  int slot = 0;
  unsigned lap = 0;
  __device__ __forceinline__ void advance(int stages) {
    if (++slot == stages) slot = 0, lap ^= 1;
  }
};

}  // namespace imago::IMAGO_CUDA_NAMESPACE
