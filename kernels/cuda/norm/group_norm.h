// GroupNorm on the GPU; formulas and shapes in kernels/backend.h.
#pragma once

#include "kernels/backend.h"
#include "kernels/cuda/runtime/gpu.h"

namespace imago::IMAGO_CUDA_NAMESPACE {

void group_norm(const Gpu& gpu, const Concat& x, ConstTensorRef gamma, ConstTensorRef beta,
                ConstTensorRef scale_shift, const GroupNormConfig& config, TensorRef y, TensorRef statistics,
                Workspace& workspace);
void group_norm_backward(const Gpu& gpu, ConstTensorRef dy, const Concat& x, ConstTensorRef gamma,
                         ConstTensorRef beta, ConstTensorRef scale_shift, ConstTensorRef statistics,
                         const GroupNormConfig& config, const Concat& so_far, const ConcatOut& dx,
                         TensorRef dgamma, TensorRef dbeta, TensorRef dscale_shift, Workspace& workspace);

}  // namespace imago::IMAGO_CUDA_NAMESPACE
