// What stands in for conv2d_library.cpp in builds without oneDNN (IMAGO_ONEDNN=OFF): the reference's loops.
// They run only where our own convolution kernels do not, see choice.h, and are slow.
#include "kernels/cpu/convolution/conv2d_library.h"
#include "kernels/cpu/convolution/conv2d_onednn.h"

namespace imago {

bool onednn::is_fast() {
  return false;
}

namespace cpu {

void library_forward(const Concat& x, ConstTensorRef w, const Conv2dGeometry& geometry,
                     const Conv2dEpilogue& epilogue, TensorRef y, Workspace& workspace) {
  reference_backend().conv2d(x, w, geometry, epilogue, y, workspace);
}

void library_dgrad(ConstTensorRef dy, ConstTensorRef w, const Conv2dGeometry& geometry, float scale,
                   const Concat& so_far, const ConcatOut& dx, Workspace& workspace) {
  reference_backend().conv2d_dgrad(dy, w, geometry, scale, so_far, dx, workspace);
}

void library_wgrad(const Concat& x, ConstTensorRef dy, const Conv2dGeometry& geometry, float scale,
                   TensorRef dw, TensorRef dbias, Workspace& workspace) {
  reference_backend().conv2d_wgrad(x, dy, geometry, scale, dw, dbias, workspace);
}

}  // namespace cpu
}  // namespace imago
