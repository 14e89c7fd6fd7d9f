// Convolution between many channels and at most three, for shapes that suit it: see conv2d_narrow.cu.
#pragma once

#include "kernels/backend.h"
#include "kernels/cuda/conv2d_epilogue.h"
#include "kernels/cuda/gpu.h"

namespace imago::IMAGO_CUDA_NAMESPACE {

/// Forward to K <= 3; false, with nothing done, where the shape does not suit.
template <class T>
bool conv2d_narrow(const Gpu& gpu, const Concat& x, ConstTensorRef w, const Conv2dGeometry& g,
                   ConstTensorRef y, const ForwardOut<T>& out);

/// wgrad with C <= 3 or K <= 3: into how many parts to cut the rows; 0 where the shape does not suit.
int wgrad_narrow_parts(const Gpu& gpu, const Concat& x, ConstTensorRef dy, const Conv2dGeometry& g,
                       const Shape& dw);
/// Writes the parts' sums to `partial` [parts,K,3,3,C].
void conv2d_wgrad_narrow(const Gpu& gpu, const Concat& x, ConstTensorRef dy, const Conv2dGeometry& g,
                         const Shape& dw, float* partial, int parts);

}  // namespace imago::IMAGO_CUDA_NAMESPACE
