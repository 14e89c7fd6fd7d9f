// Convolution and its gradients: who computes them.
//
// Two ways give the same sums. oneDNN (conv2d_library.cpp) reaches 84 to 92 % of the peak in NHWC on a
// CPU with AVX-512 in float32, 75 to 89 % in bfloat16. Without AVX-512 it has no bfloat16 at all, and its
// NHWC kernels lose where wide channels meet (GFLOP/s of one Zen 2 thread with a peak of 94, batch 16, on
// a shared machine):
//   3x3                             oneDNN 2.6.3: forward, dgrad, wgrad     our own (conv2d_direct.cpp)
//   32x32,  64 -> 64                75  71  46                              72  70  67
//   32x32, 128 + 64 -> 64           51  62  41                              68  64  60
//   16x16, 128 -> 128               64  68  51                              64  67  63
//   16x16, 128 + 128 -> 128         61  56  53                              67  64  56
// What stays oneDNN's everywhere: the float32 gradients of 1x1 filters and linear layers (plain matrix
// products), filters over very few channels (the first layer's 3 do not fill our vectors), and the gradient
// with respect to the data of strided convolutions. Both ways, the bits of an image's y do not depend on how
// many images go through together.
#include "kernels/cpu/columns.h"
#include "kernels/cpu/convolution/conv2d_direct.h"
#include "kernels/cpu/convolution/conv2d_library.h"
#include "kernels/cpu/convolution/conv2d_onednn.h"
#include "kernels/cpu/cpu_backend.h"

namespace imago {

using namespace cpu;

namespace {

ConvShape shape_of(const Shape& x, int64_t channels, const Shape& w, const Shape& y,
                   const Conv2dGeometry& g) {
  return {x[0], x[1], x[2], channels, w[0], w[1], w[2], y[1], y[2], g.stride, g.top, g.left};
}

bool is_matrix_product(const ConvShape& c) {
  return c.flattened().h == 1 && c.r == 1 && c.s == 1;
}

}  // namespace

/// `channels`: those summed over, or in wgrad those along which our kernel's vectors run.
bool CpuBackend::runs_direct(bool product_gradient, int64_t channels, DType type) const {
  if (convolution_ != Convolution::kFastest) return convolution_ == Convolution::kDirect;
  static const bool library_is_fast = onednn::is_fast();
  if (library_is_fast) return false;
  return type == DType::kBFloat16 || (!product_gradient && channels >= kLanes);
}

void CpuBackend::conv2d(const Concat& x, ConstTensorRef w, const Conv2dGeometry& geometry,
                        const Conv2dEpilogue& epilogue, TensorRef y, Workspace& workspace) {
  if (y.numel() == 0) return;
  const ConvShape shape = shape_of(x.a.shape, x.channels(), w.shape, y.shape, geometry);
  if (!runs_direct(false, shape.c, y.dtype)) {
    return library_forward(x, w, geometry, epilogue, y, workspace);
  }
  dispatch("conv2d", y.dtype,
           [&]<class T>() { direct_forward(x, w.as<T>(), shape, epilogue, y.as<T>(), workspace); });
}

void CpuBackend::conv2d_dgrad(ConstTensorRef dy, ConstTensorRef w, const Conv2dGeometry& geometry,
                              float scale, const Concat& so_far, const ConcatOut& dx, Workspace& workspace) {
  if (dx.a.numel() == 0) return;
  const ConvShape shape = shape_of(dx.a.shape, dx.channels(), w.shape, dy.shape, geometry);
  if (shape.stride != 1 || !runs_direct(is_matrix_product(shape), shape.k, dy.dtype)) {
    return library_dgrad(dy, w, geometry, scale, so_far, dx, workspace);
  }
  dispatch("conv2d_dgrad", dy.dtype,
           [&]<class T>() { direct_dgrad(dy.as<T>(), w.as<T>(), shape, scale, so_far, dx, workspace); });
}

void CpuBackend::conv2d_wgrad(const Concat& x, ConstTensorRef dy, const Conv2dGeometry& geometry, float scale,
                              TensorRef dw, TensorRef dbias, Workspace& workspace) {
  if (x.a.numel() == 0 || dw.numel() == 0) return;
  const ConvShape shape = shape_of(x.a.shape, x.channels(), dw.shape, dy.shape, geometry);
  if (!runs_direct(is_matrix_product(shape), shape.c, dy.dtype)) {
    return library_wgrad(x, dy, geometry, scale, dw, dbias, workspace);
  }
  dispatch("conv2d_wgrad", dy.dtype, [&]<class T>() {
    direct_wgrad(x, dy.as<T>(), shape, scale, dw.as<float>(), dbias.as<float>(), workspace);
  });
}

void CpuBackend::per_image_bias_grad(ConstTensorRef dy, float scale, TensorRef dper_image,
                                     Workspace& workspace) {
  if (dy.numel() == 0) return;
  const int64_t images = dy.shape[0], channels = dy.shape[-1], pixels = dy.numel() / (images * channels);
  const int64_t partial = partial_sums(images, pixels, channels);
  Scratch scratch(workspace, Scratch::bytes_of<float>(partial));
  dispatch("per_image_bias_grad", dy.dtype, [&]<class T>() {
    sum_pixels(dy.as<T>(), images, pixels, channels, scratch.take<float>(partial),
               [&](int64_t n, int64_t k, double sum) {
                 dper_image.as<T>()[n * channels + k] = static_cast<T>(static_cast<float>(scale * sum));
               });
  });
}

}  // namespace imago
