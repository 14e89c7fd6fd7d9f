// Our own 3x3 convolutions with stride 1 by Winograd's algorithm (winograd.h says which).
#pragma once

#include "kernels/cpu/convolution/conv2d_direct.h"

namespace imago::cpu {

/// Whether Winograd's algorithm is for this shape: a 3x3 filter with stride 1, any padding, and at least 16
/// channels on either side: fewer do not pay for the transforms, and in sums of fewer products its rounding
/// stands out.
inline bool is_winograd(const ConvShape& c) {
  return c.r == 3 && c.s == 3 && c.stride == 1 && std::min(c.c, c.k) >= 16;
}
/// The same for the gradient with respect to the weights, whose sums run over pixels.
inline bool is_winograd_wgrad(const ConvShape& c) {
  return is_winograd(c) && c.n * c.ho * c.wo >= 256;
}

/// y = conv(x, w) + epilogue; x in one or two sources.
template <class T>
void winograd_forward(const Concat& x, const T* w, const ConvShape& conv, const Conv2dEpilogue& epilogue,
                      T* y, Workspace& workspace);
/// dx = so_far + scale * conv^T(dy, w); dx in one or two parts. `conv` is the forward convolution.
template <class T>
void winograd_dgrad(const T* dy, const T* w, const ConvShape& conv, float scale, const Concat& so_far,
                    const ConcatOut& dx, Workspace& workspace);
/// dw += scale * dy * x, dbias += scale * (sum of dy) unless null
template <class T>
void winograd_wgrad(const Concat& x, const T* dy, const ConvShape& conv, float scale, float* dw, float* dbias,
                    Workspace& workspace);

}  // namespace imago::cpu
