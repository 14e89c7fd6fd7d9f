// Attention on Hopper's own instructions (sm_90a), for the heads of takes_wgmma.
#pragma once

#include "kernels/backend.h"
#include "kernels/cuda/runtime/gpu.h"

namespace imago::IMAGO_CUDA_NAMESPACE {

void attention_hopper(const Gpu& gpu, ConstTensorRef q, ConstTensorRef k, ConstTensorRef v, int heads,
                      float scale, TensorRef y, TensorRef lse);
/// delta [N,heads,T] = rowsum(dy * y), from attention_backward.
void attention_backward_hopper(const Gpu& gpu, ConstTensorRef dy, ConstTensorRef q, ConstTensorRef k,
                               ConstTensorRef v, ConstTensorRef lse, const float* delta, int heads,
                               float scale, TensorRef dq, TensorRef dk, TensorRef dv);

}  // namespace imago::IMAGO_CUDA_NAMESPACE
