// Attention on the GPU; formulas and shapes in kernels/backend.h.
#pragma once

#include "kernels/backend.h"
#include "kernels/cuda/runtime/gpu.h"

namespace imago::IMAGO_CUDA_NAMESPACE {

void attention(const Gpu& gpu, ConstTensorRef q, ConstTensorRef k, ConstTensorRef v, int heads, float scale,
               TensorRef y, TensorRef lse, Workspace& workspace);
void attention_backward(const Gpu& gpu, ConstTensorRef dy, ConstTensorRef q, ConstTensorRef k,
                        ConstTensorRef v, ConstTensorRef y, ConstTensorRef lse, int heads, float scale,
                        TensorRef dq, TensorRef dk, TensorRef dv, Workspace& workspace);

}  // namespace imago::IMAGO_CUDA_NAMESPACE
