// The optimizer's passes over flat buffers on the GPU; formulas and shapes in kernels/backend.h.
#pragma once

#include "kernels/backend.h"
#include "kernels/cuda/runtime/gpu.h"

namespace imago::IMAGO_CUDA_NAMESPACE {

void norm(const Gpu& gpu, ConstTensorRef x, TensorRef y, Workspace& workspace);
void adamw(const Gpu& gpu, ConstTensorRef g, ConstTensorRef grad_norm, ConstTensorRef step, TensorRef p,
           TensorRef m, TensorRef v, TensorRef ema, TensorRef p_bf16);

}  // namespace imago::IMAGO_CUDA_NAMESPACE
