// Convolution on Hopper's own instructions (sm_90a): stride 1, bfloat16, input channels in blocks of 64.
#pragma once

#include "kernels/cuda/convolution/conv2d_epilogue.h"
#include "kernels/cuda/convolution/conv2d_tiling.h"
#include "kernels/cuda/convolution/wgrad_target.h"
#include "kernels/cuda/runtime/gpu.h"

namespace imago::IMAGO_CUDA_NAMESPACE {

/// y or dx, by `out`, in a tiling from hopper_tiling.
void conv2d_hopper(const Gpu& gpu, const Concat& x, ConstTensorRef w, const Conv2dGeometry& geometry,
                   const ForwardOut<__nv_bfloat16>& out, const Shape& y, const HopperTiling& tiling);
void conv2d_dgrad_hopper(const Gpu& gpu, ConstTensorRef dy, ConstTensorRef w, const Conv2dGeometry& geometry,
                         const DgradOut<__nv_bfloat16>& out, const Shape& dx, const HopperTiling& tiling);

/// dw and dbias for stride 1, in tiling.parts parts of the pixels. filter [K,R,S,C].
void conv2d_wgrad_hopper(const Gpu& gpu, const Concat& x, ConstTensorRef dy, const Conv2dGeometry& geometry,
                         const Shape& filter, const WgradTarget& to, const WgradTiling& tiling);

}  // namespace imago::IMAGO_CUDA_NAMESPACE
