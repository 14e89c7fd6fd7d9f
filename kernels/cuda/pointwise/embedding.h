// Embeddings on the GPU; formulas and shapes in kernels/backend.h.
#pragma once

#include "kernels/backend.h"
#include "kernels/cuda/runtime/gpu.h"

namespace imago::IMAGO_CUDA_NAMESPACE {

void sinusoid(const Gpu& gpu, ConstTensorRef t, ConstTensorRef frequencies, bool cos_first, TensorRef y);
void embedding(const Gpu& gpu, ConstTensorRef table, ConstTensorRef index, TensorRef y);
void embedding_backward(const Gpu& gpu, ConstTensorRef dy, ConstTensorRef index, TensorRef dtable);

}  // namespace imago::IMAGO_CUDA_NAMESPACE
