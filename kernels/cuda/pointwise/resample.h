// Up- and downsampling on the GPU; formulas and shapes in kernels/backend.h.
#pragma once

#include "kernels/backend.h"
#include "kernels/cuda/runtime/gpu.h"

namespace imago::IMAGO_CUDA_NAMESPACE {

void upsample2x(const Gpu& gpu, ConstTensorRef x, float scale, TensorRef y);
void sum_pool2x(const Gpu& gpu, ConstTensorRef x, float scale, TensorRef y);

}  // namespace imago::IMAGO_CUDA_NAMESPACE
