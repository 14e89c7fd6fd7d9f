// Convolution on the GPU, and with it every linear layer; formulas and shapes in kernels/backend.h.
#pragma once

#include "kernels/backend.h"
#include "kernels/cuda/runtime/gpu.h"

namespace imago::IMAGO_CUDA_NAMESPACE {

void conv2d(const Gpu& gpu, const Concat& x, ConstTensorRef w, const Conv2dGeometry& geometry,
            const Conv2dEpilogue& epilogue, TensorRef y);
void conv2d_dgrad(const Gpu& gpu, ConstTensorRef dy, ConstTensorRef w, const Conv2dGeometry& geometry,
                  float scale, const Concat& so_far, const ConcatOut& dx);
void conv2d_wgrad(const Gpu& gpu, const Concat& x, ConstTensorRef dy, const Conv2dGeometry& geometry,
                  float scale, TensorRef dw, TensorRef dbias, Workspace& workspace);
void per_image_bias_grad(const Gpu& gpu, ConstTensorRef dy, float scale, TensorRef dper_image,
                         Workspace& workspace);

}  // namespace imago::IMAGO_CUDA_NAMESPACE
