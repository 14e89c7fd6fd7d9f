// Convolution and its gradients: each call goes to the way that choice.h chooses. Every way adds in one
// order, and none looks at the batch: the bits of an image's y do not depend on how many images go through
// together.
#include "kernels/cpu/columns.h"
#include "kernels/cpu/convolution/choice.h"
#include "kernels/cpu/convolution/conv2d_direct.h"
#include "kernels/cpu/convolution/conv2d_library.h"
#include "kernels/cpu/convolution/conv2d_winograd.h"
#include "kernels/cpu/cpu_backend.h"

namespace imago {

using namespace cpu;

ConvWay CpuBackend::way(ConvPass pass, DType type, const ConvShape& shape) const {
  if (only_ && is_possible(*only_, pass, shape)) return *only_;
  const ConvKind kind = ConvKind::of(pass, type, shape);
  const std::optional<ConvWay> measured = choices_.find(kind);
  return measured && is_possible(*measured, pass, shape) ? *measured : way_by_rule(kind, shape);
}

void CpuBackend::conv2d(const Concat& x, ConstTensorRef w, const Conv2dGeometry& geometry,
                        const Conv2dEpilogue& epilogue, TensorRef y, Workspace& workspace) {
  if (y.numel() == 0) return;
  const ConvShape shape = ConvShape::of(x.a.shape, x.channels(), w.shape, y.shape, geometry);
  const ConvWay by = way(ConvPass::kForward, y.dtype, shape);
  if (by == ConvWay::kOneDnn) return library_forward(x, w, geometry, epilogue, y, workspace);
  dispatch("conv2d", y.dtype, [&]<class T>() {
    const auto run = by == ConvWay::kWinograd ? winograd_forward<T> : direct_forward<T>;
    run(x, w.as<T>(), shape, epilogue, y.as<T>(), workspace);
  });
}

void CpuBackend::conv2d_dgrad(ConstTensorRef dy, ConstTensorRef w, const Conv2dGeometry& geometry,
                              float scale, const Concat& so_far, const ConcatOut& dx, Workspace& workspace) {
  if (dx.a.numel() == 0) return;
  const ConvShape shape = ConvShape::of(dx.a.shape, dx.channels(), w.shape, dy.shape, geometry);
  const ConvWay by = way(ConvPass::kDgrad, dy.dtype, shape);
  if (by == ConvWay::kOneDnn) return library_dgrad(dy, w, geometry, scale, so_far, dx, workspace);
  dispatch("conv2d_dgrad", dy.dtype, [&]<class T>() {
    const auto run = by == ConvWay::kWinograd ? winograd_dgrad<T> : direct_dgrad<T>;
    run(dy.as<T>(), w.as<T>(), shape, scale, so_far, dx, workspace);
  });
}

void CpuBackend::conv2d_wgrad(const Concat& x, ConstTensorRef dy, const Conv2dGeometry& geometry, float scale,
                              TensorRef dw, TensorRef dbias, Workspace& workspace) {
  if (x.a.numel() == 0 || dw.numel() == 0) return;
  const ConvShape shape = ConvShape::of(x.a.shape, x.channels(), dw.shape, dy.shape, geometry);
  const ConvWay by = way(ConvPass::kWgrad, dy.dtype, shape);
  if (by == ConvWay::kOneDnn) return library_wgrad(x, dy, geometry, scale, dw, dbias, workspace);
  dispatch("conv2d_wgrad", dy.dtype, [&]<class T>() {
    const auto run = by == ConvWay::kWinograd ? winograd_wgrad<T> : direct_wgrad<T>;
    run(x, dy.as<T>(), shape, scale, dw.as<float>(), dbias.as<float>(), workspace);
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
