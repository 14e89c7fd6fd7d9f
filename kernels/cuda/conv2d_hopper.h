// Convolution on Hopper's own instructions (sm_90a): stride 1, bfloat16, channels in blocks of 64.
#pragma once

#include "kernels/cuda/conv2d_epilogue.h"
#include "kernels/cuda/gpu.h"

namespace imago::IMAGO_CUDA_NAMESPACE {

/// y or dx, by `out`, where the shape suits these kernels; false, and nothing done, where it does not.
bool conv2d_hopper(const Gpu& gpu, const Concat& x, ConstTensorRef w, const Conv2dGeometry& geometry,
                   const ForwardOut<__nv_bfloat16>& out, const Shape& y);
bool conv2d_dgrad_hopper(const Gpu& gpu, ConstTensorRef dy, ConstTensorRef w, const Conv2dGeometry& geometry,
                         const DgradOut<__nv_bfloat16>& out, const Shape& dx);

}  // namespace imago::IMAGO_CUDA_NAMESPACE
