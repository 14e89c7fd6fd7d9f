// Convolution and its gradients: who computes them.
//
// Three ways give the same sums.
//
// Winograd's algorithm (winograd.h, conv2d_winograd.cpp) needs a quarter of the products of a 3x3 filter with
// stride 1, and is the fastest wherever it applies: images of 8x8 and more, at least 16 channels on either
// side. GFLOP/s of direct convolution's FLOPs, both threads of a 2-core Zen 5 with AVX-512, batch 16,
// float32, 2026-11-24 (FMA limit 530):
//   3x3                             oneDNN 2.6.3: forward, dgrad, wgrad     Winograd
//   32x32,  64 -> 64                483  457  511                           1207 1226 1002
//   32x32, 128 -> 128               502  457  526                           1266 1275 1147
//   16x16, 256 -> 256               539  486  494                           1176 1151 1144
//    8x8,  256 -> 256               550  510  502                            902  936  976
//    4x4,  256 -> 256               382  528  373                            518  532  526
// At batch 1 the transforms of the filters weigh more: 32x32, 128 -> 128: 397 (oneDNN) and 794; 16x16, 256 ->
// 256: 431 and 519; 8x8, 256 -> 256: 257 and 167; 4x4, 256 -> 256: 86 and 46.
//
// oneDNN (conv2d_library.cpp) reaches 84 to 92 % of the peak in NHWC on a CPU with AVX-512 in float32, 75 to
// 89 % in bfloat16, where it keeps Winograd's shapes, too. Without AVX-512 it has no bfloat16 at all, and its
// NHWC kernels lose to our own direct ones (conv2d_direct.cpp) where wide channels meet (GFLOP/s of one Zen 2
// thread with a peak of 94, batch 16, on a shared machine):
//   3x3                             oneDNN 2.6.3: forward, dgrad, wgrad     direct
//   32x32,  64 -> 64                75  71  46                              72  70  67
//   32x32, 128 + 64 -> 64           51  62  41                              68  64  60
//   16x16, 128 -> 128               64  68  51                              64  67  63
//   16x16, 128 + 128 -> 128         61  56  53                              67  64  56
//
// A 1x1 filter or a linear layer over 32 channels and more, forward in float32, is our direct kernel's on
// every CPU: with thousands of rows the two are as fast, but oneDNN brings the weights into its own format at
// every call, which costs more than the product where rows are few, as in sampling. GFLOP/s, both threads of
// the Zen 5 (busy with other work), oneDNN and direct: 128 -> 128, 4096 rows: 231 210; 256 rows: 137 178; 64
// rows: 70 185; 256 -> 128, one row: 1.3 7.9.
//
// What stays oneDNN's everywhere: the float32 gradients of 1x1 filters and linear layers (plain matrix
// products), filters over very few channels (the first layer's 3 do not fill our vectors), and the gradient
// with respect to the data of strided convolutions. Who computes y and dx is decided without looking at the
// batch, and each way adds in one order: the bits of an image's y do not depend on how many images go through
// together.
#include "kernels/cpu/columns.h"
#include "kernels/cpu/convolution/conv2d_direct.h"
#include "kernels/cpu/convolution/conv2d_library.h"
#include "kernels/cpu/convolution/conv2d_onednn.h"
#include "kernels/cpu/convolution/conv2d_winograd.h"
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

/// `product`: a matrix product, forward or, with `gradient`, backward. `channels`: those summed over, or in
/// wgrad those along which our kernel's vectors run.
bool CpuBackend::runs_direct(bool product, bool gradient, int64_t channels, DType type) const {
  if (convolution_ == Convolution::kOneDnn || convolution_ == Convolution::kDirect) {
    return convolution_ == Convolution::kDirect;
  }
  static const bool library_is_fast = onednn::is_fast();
  if (library_is_fast) {
    return product && !gradient && type == DType::kFloat32 && channels >= 2 * kLanes;
  }
  return type == DType::kBFloat16 || (!(product && gradient) && channels >= kLanes);
}

/// `possible`: whether the shape is one for Winograd's algorithm; `pixels`: of an image of the result.
bool CpuBackend::runs_winograd(bool possible, int64_t pixels, DType type) const {
  if (!possible || convolution_ == Convolution::kWinograd) return possible;
  if (convolution_ != Convolution::kFastest) return false;
  static const bool library_is_fast = onednn::is_fast();
  return pixels >= 64 && !(library_is_fast && type == DType::kBFloat16);
}

void CpuBackend::conv2d(const Concat& x, ConstTensorRef w, const Conv2dGeometry& geometry,
                        const Conv2dEpilogue& epilogue, TensorRef y, Workspace& workspace) {
  if (y.numel() == 0) return;
  const ConvShape shape = shape_of(x.a.shape, x.channels(), w.shape, y.shape, geometry);
  if (runs_winograd(is_winograd(shape), shape.ho * shape.wo, y.dtype)) {
    return dispatch("conv2d", y.dtype, [&]<class T>() {
      winograd_forward(x, w.as<T>(), shape, epilogue, y.as<T>(), workspace);
    });
  }
  if (!runs_direct(is_matrix_product(shape), false, shape.c, y.dtype)) {
    return library_forward(x, w, geometry, epilogue, y, workspace);
  }
  dispatch("conv2d", y.dtype,
           [&]<class T>() { direct_forward(x, w.as<T>(), shape, epilogue, y.as<T>(), workspace); });
}

void CpuBackend::conv2d_dgrad(ConstTensorRef dy, ConstTensorRef w, const Conv2dGeometry& geometry,
                              float scale, const Concat& so_far, const ConcatOut& dx, Workspace& workspace) {
  if (dx.a.numel() == 0) return;
  const ConvShape shape = shape_of(dx.a.shape, dx.channels(), w.shape, dy.shape, geometry);
  if (runs_winograd(is_winograd(shape), shape.h * shape.w, dy.dtype)) {
    return dispatch("conv2d_dgrad", dy.dtype, [&]<class T>() {
      winograd_dgrad(dy.as<T>(), w.as<T>(), shape, scale, so_far, dx, workspace);
    });
  }
  if (shape.stride != 1 || !runs_direct(is_matrix_product(shape), true, shape.k, dy.dtype)) {
    return library_dgrad(dy, w, geometry, scale, so_far, dx, workspace);
  }
  dispatch("conv2d_dgrad", dy.dtype,
           [&]<class T>() { direct_dgrad(dy.as<T>(), w.as<T>(), shape, scale, so_far, dx, workspace); });
}

void CpuBackend::conv2d_wgrad(const Concat& x, ConstTensorRef dy, const Conv2dGeometry& geometry, float scale,
                              TensorRef dw, TensorRef dbias, Workspace& workspace) {
  if (x.a.numel() == 0 || dw.numel() == 0) return;
  const ConvShape shape = shape_of(x.a.shape, x.channels(), dw.shape, dy.shape, geometry);
  if (runs_winograd(is_winograd_wgrad(shape), shape.n * shape.ho * shape.wo, dy.dtype)) {
    return dispatch("conv2d_wgrad", dy.dtype, [&]<class T>() {
      winograd_wgrad(x, dy.as<T>(), shape, scale, dw.as<float>(), dbias.as<float>(), workspace);
    });
  }
  if (!runs_direct(is_matrix_product(shape), true, shape.c, dy.dtype)) {
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
