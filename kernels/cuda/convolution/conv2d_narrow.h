// Convolution between many channels and at most three, for shapes that suit it: see conv2d_narrow.cu.
#pragma once

#include "kernels/backend.h"
#include "kernels/cuda/convolution/conv2d_epilogue.h"
#include "kernels/cuda/convolution/wgrad_target.h"
#include "kernels/cuda/runtime/gpu.h"

namespace imago::IMAGO_CUDA_NAMESPACE {

/// Forward to K <= 3; false, with nothing done, where the shape does not suit.
template <class T>
bool conv2d_narrow(const Gpu& gpu, const Concat& x, ConstTensorRef w, const Conv2dGeometry& g,
                   ConstTensorRef y, const ForwardOut<T>& out);

/// wgrad with C <= 3 or K <= 3, where tiling's narrow_wgrad_parts is not 0: the sums of so many parts.
void conv2d_wgrad_narrow(const Gpu& gpu, const Concat& x, ConstTensorRef dy, const Conv2dGeometry& g,
                         const Shape& dw, const WgradTarget& to, int parts);

}  // namespace imago::IMAGO_CUDA_NAMESPACE
