// Elementwise operations on the GPU; formulas and shapes in kernels/backend.h.
#pragma once

#include "kernels/backend.h"
#include "kernels/cuda/runtime/gpu.h"

namespace imago::IMAGO_CUDA_NAMESPACE {

void fill(const Gpu& gpu, TensorRef y, double value);
void copy(const Gpu& gpu, ConstTensorRef x, TensorRef y);
void add(const Gpu& gpu, ConstTensorRef a, float alpha, ConstTensorRef b, float beta, TensorRef y);
void silu(const Gpu& gpu, ConstTensorRef x, TensorRef y);
void silu_backward(const Gpu& gpu, ConstTensorRef dy, ConstTensorRef x, TensorRef dx);
void dropout(const Gpu& gpu, ConstTensorRef x, float p, const RandomKey& key, TensorRef y);

}  // namespace imago::IMAGO_CUDA_NAMESPACE
