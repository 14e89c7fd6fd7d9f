// The kernels for shapes that the implicit GEMM serves less well: conv2d.cu, conv2d_dgrad.cu and
// conv2d_wgrad.cu launch them where conv2d_tiling.h says so.
#pragma once

#include "kernels/cuda/convolution/conv2d_epilogue.h"
#include "kernels/cuda/runtime/gpu.h"

namespace imago::IMAGO_CUDA_NAMESPACE {

// ---- On Hopper's own instructions (sm_90a): stride 1, bfloat16, input channels in blocks of 64 ----

/// y or dx, by `out`, in a tiling from hopper_tiling.
void conv2d_hopper(const Gpu& gpu, const Concat& x, ConstTensorRef w, const Conv2dGeometry& geometry,
                   const ForwardOut<__nv_bfloat16>& out, const Shape& y, const HopperTiling& tiling);
void conv2d_dgrad_hopper(const Gpu& gpu, ConstTensorRef dy, ConstTensorRef w, const Conv2dGeometry& geometry,
                         const DgradOut<__nv_bfloat16>& out, const Shape& dx, const HopperTiling& tiling);

/// dw and dbias for stride 1, in tiling.parts parts of the pixels. filter [K,R,S,C].
void conv2d_wgrad_hopper(const Gpu& gpu, const Concat& x, ConstTensorRef dy, const Conv2dGeometry& geometry,
                         const Shape& filter, const WgradTarget& to, const WgradTiling& tiling);

// ---- Between many channels and at most three (conv2d_narrow.cu) ----

/// Forward to K <= 3; false, with nothing done, where the shape does not suit.
template <class T>
bool conv2d_narrow(const Gpu& gpu, const Concat& x, ConstTensorRef w, const Conv2dGeometry& g,
                   ConstTensorRef y, const ForwardOut<T>& out);

/// wgrad with C <= 3 or K <= 3, where tiling's narrow_wgrad_parts is not 0: the sums of so many parts.
void conv2d_wgrad_narrow(const Gpu& gpu, const Concat& x, ConstTensorRef dy, const Conv2dGeometry& g,
                         const Shape& dw, const WgradTarget& to, int parts);

}  // namespace imago::IMAGO_CUDA_NAMESPACE
