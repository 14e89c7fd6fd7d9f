// The logistic function, which silu and its gradient are made of.
#pragma once

#include "kernels/cuda/device/launch.h"

namespace imago::IMAGO_CUDA_NAMESPACE {

/// s(x) = 1 / (1 + exp(-x)); 0 below -87, where exp(-x) comes near the end of float32.
/// __fdividef is a reciprocal and a product, wrong by two units in the last place at most; a division in
/// full precision branches to a subroutine, and its callers spill registers around the call.
__device__ __forceinline__ float sigmoid(float x) {
  return __fdividef(1.0f, 1.0f + expf(-x));
}

}  // namespace imago::IMAGO_CUDA_NAMESPACE
