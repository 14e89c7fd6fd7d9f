#include "engine/ops/conv2d.h"

#include "engine/autograd/continued_sums.h"
#include "engine/ops/elementwise.h"
#include "engine/tensor/allocator.h"

namespace imago {

namespace {

/// A weight as the convolution sees it; a linear layer's [K,C] as [K,1,1,C].
struct Filter {
  Tensor elements;  // [K,R,S,C], the type of the activations
  Tensor gradient;  // [K,R,S,C] float32, or undefined
  Tensor leaf;      // whose gradient that is
};

Filter filter_of(const Parameter& weight, const Shape& shape) {
  const Tensor gradient = weight.value.grad();
  return {weight.compute.view(shape), gradient ? gradient.view(shape) : gradient, weight.value};
}

/// y: as an image; result: as the caller gets it.
void check_shapes(const Tensor& x, const Tensor& skip, const Tensor& w, const Shape& y,
                  const Conv2dOptions& o, const Shape& result) {
  const int64_t channels = x.dim(3) + (skip ? skip.dim(3) : 0);
  check(w.dim(3) == channels, "conv2d: weight ", w.shape(), " for ", channels, " channels");
  check(y[1] > 0 && y[2] > 0, "conv2d: image ", x.shape(), ", filter ", w.shape());
  check(!skip || (skip.dim(0) == x.dim(0) && skip.dim(1) == x.dim(1) && skip.dim(2) == x.dim(2)),
        "conv2d: the two sources differ in more than channels");
  check(!o.per_image_bias || o.per_image_bias.shape() == Shape{y[0], y[3]},
        "conv2d: per_image_bias must be [N,K]");
  check(!o.residual || o.residual.shape() == result, "conv2d: residual must be ", result);
  check(w.dtype() == x.dtype(), "conv2d: weights are ", w.dtype(), ", the image ", x.dtype());
}

/// A tensor as the convolution sees it, cut off from the tape. A linear layer's rows become the pixels of one
/// image, one pixel high: linear layers have no kernels of their own.
enum class Layout { kImage, kRows };
Tensor image(const Tensor& x, Layout layout) {
  if (!x) return x;
  return layout == Layout::kImage ? x.detach() : x.view({1, 1, x.numel() / x.dim(-1), x.dim(-1)});
}

/// The backward of convolve(): which gradients are wanted is settled when it is recorded.
struct ConvolveBackward {
  Tensor x, skip;
  Filter w;
  Tensor dbias;
  Conv2dGeometry geometry;
  float scale;
  bool want_x, want_per_image_bias, want_residual;
  Shape x_shape, y_shape;  // as recorded, and as an image

  Gradients operator()(const Tensor& dy_recorded, Gradients& so_far) const {
    const Tensor dy = dy_recorded.view(y_shape);
    Backend& backend = backend_of(dy);
    if (w.gradient) {
      ScratchSpace scratch(dy.device());
      backend.conv2d_wgrad({x, skip}, dy, geometry, scale, w.gradient, dbias, scratch);
    }
    Tensor dper_image_bias, dx, dskip, dresidual;
    if (want_per_image_bias) {
      dper_image_bias = empty({dy.dim(0), dy.dim(3)}, dy.dtype(), dy.device());  // [N,K]
      ScratchSpace scratch(dy.device());
      backend.per_image_bias_grad(dy, scale, dper_image_bias, scratch);
    }
    if (want_x) {
      dx = empty_like(x);
      if (skip) dskip = empty_like(skip);
      const Tensor sum = std::move(so_far[0]), skip_sum = std::move(so_far[1]);
      ScratchSpace scratch(dy.device());
      backend.conv2d_dgrad(dy, w.elements, geometry, scale, {sum, skip_sum}, {dx, dskip}, scratch);
      dx = dx.view(x_shape);
    }
    if (want_residual) dresidual = scale == 1 ? dy_recorded : imago::scale(dy_recorded, scale);
    return {dx, dskip, {}, {}, dper_image_bias, dresidual};
  }
};

/// x_in, skip_in and o.residual in `layout`; the result [...,K] as well.
Tensor convolve(const Tensor& x_in, const Tensor& skip_in, const Filter& w, const Parameter* bias,
                const Conv2dOptions& o, Layout layout) {
  const Tensor x = image(x_in, layout), skip = image(skip_in, layout);
  const Tensor residual = image(o.residual, layout);
  const Conv2dGeometry& g = o.geometry;
  const Shape out{x.dim(0), g.out_height(x.dim(1), w.elements.dim(1)),
                  g.out_width(x.dim(2), w.elements.dim(2)), w.elements.dim(0)};
  Shape result = out;  // in `layout`
  if (layout == Layout::kRows) {
    result = {};
    for (int i = 0; i + 1 < x_in.shape().rank(); ++i) result.push_back(x_in.dim(i));
    result.push_back(out[3]);
  }
  check_shapes(x, skip, w.elements, out, o, result);
  Tensor y = empty(out, x.dtype(), x.device());  // [N,Ho,Wo,K]
  {
    ScratchSpace scratch(x.device());
    const Conv2dEpilogue epilogue{bias ? bias->value.ref() : TensorRef(), o.per_image_bias, residual,
                                  o.scale};
    backend_of(x).conv2d({x, skip}, w.elements, g, epilogue, y, scratch);
  }
  if (layout == Layout::kRows) y = y.view(result);
  const Tensor bias_leaf = bias ? bias->value : Tensor(), dbias = bias_leaf ? bias_leaf.grad() : Tensor();
  check(w.gradient || !dbias, "conv2d: a bias that is trained needs a weight that is trained");
  return record(
      "conv2d", y, {x_in, skip_in, w.leaf, bias_leaf, o.per_image_bias, o.residual},
      ConvolveBackward{x, skip, w, dbias, g, o.scale, x_in.requires_grad() || skip_in.requires_grad(),
                       o.per_image_bias.requires_grad(), o.residual.requires_grad(), x_in.shape(), out});
}

}  // namespace

Tensor conv2d(const Tensor& x, const Tensor& skip, const Parameter& weight, const Parameter* bias,
              const Conv2dOptions& options) {
  return convolve(x, skip, filter_of(weight, weight.shape), bias, options, Layout::kImage);
}

Tensor linear(const Tensor& x, const Parameter& weight, const Parameter* bias, const Tensor& residual,
              float scale) {
  const Filter filter = filter_of(weight, {weight.shape[0], 1, 1, weight.shape[1]});
  return convolve(x, {}, filter, bias, {{}, {}, residual, scale}, Layout::kRows);
}

}  // namespace imago
