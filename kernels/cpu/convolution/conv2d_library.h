// Convolutions by oneDNN with all that the contract asks for: two sources, epilogue, any type. The arguments
// are those of kernels/backend.h.
#pragma once

#include "kernels/backend.h"

namespace imago::cpu {

void library_forward(const Concat& x, ConstTensorRef w, const Conv2dGeometry& geometry,
                     const Conv2dEpilogue& epilogue, TensorRef y, Workspace& workspace);
void library_dgrad(ConstTensorRef dy, ConstTensorRef w, const Conv2dGeometry& geometry, float scale,
                   const Concat& so_far, const ConcatOut& dx, Workspace& workspace);
void library_wgrad(const Concat& x, ConstTensorRef dy, const Conv2dGeometry& geometry, float scale,
                   TensorRef dw, TensorRef dbias, Workspace& workspace);

}  // namespace imago::cpu
