// Attention without tensor cores: float32, and heads of more than 256 channels. See attention_simple.cu.
#pragma once

#include "kernels/backend.h"
#include "kernels/cuda/runtime/gpu.h"

namespace imago::IMAGO_CUDA_NAMESPACE {

void attention_simple(const Gpu& gpu, ConstTensorRef q, ConstTensorRef k, ConstTensorRef v, int heads,
                      float scale, TensorRef y, TensorRef lse);
/// delta [N,heads,T] = rowsum(dy * y), from attention_backward.
void attention_backward_simple(const Gpu& gpu, ConstTensorRef dy, ConstTensorRef q, ConstTensorRef k,
                               ConstTensorRef v, ConstTensorRef lse, const float* delta, int heads,
                               float scale, TensorRef dq, TensorRef dk, TensorRef dv);

}  // namespace imago::IMAGO_CUDA_NAMESPACE
