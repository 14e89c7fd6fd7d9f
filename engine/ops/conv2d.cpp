#include "engine/ops/conv2d.h"

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

void check_shapes(const Tensor& x, const Tensor& skip, const Tensor& w, const Conv2dOptions& o,
                  const Shape& y) {
  const int64_t channels = x.dim(3) + (skip ? skip.dim(3) : 0);
  check(w.dim(3) == channels, "conv2d: weight ", w.shape().to_string(), " for ", channels, " channels");
  check(y[1] > 0 && y[2] > 0, "conv2d: picture ", x.shape().to_string(), ", filter ", w.shape().to_string());
  check(!skip || (skip.dim(0) == x.dim(0) && skip.dim(1) == x.dim(1) && skip.dim(2) == x.dim(2)),
        "conv2d: the two sources differ in more than channels");
  check(!o.per_image_bias || o.per_image_bias.shape() == Shape{y[0], y[3]},
        "conv2d: per_image_bias must be [N,K]");
  check(!o.residual || o.residual.shape() == y, "conv2d: residual must be ", y.to_string());
  check(w.dtype() == x.dtype(), "conv2d: weights are ", name_of(w.dtype()), ", the picture ",
        name_of(x.dtype()));
}

Tensor detached(const Tensor& x) {
  return x ? x.detach() : x;
}

/// The backward of convolve(): which gradients are wanted is settled when it is recorded.
struct ConvolveBackward {
  Tensor x, skip;
  Filter w;
  Tensor dbias;
  Conv2dGeometry geometry;
  float scale;
  bool want_x, want_per_image_bias, want_residual;

  Gradients operator()(const Tensor& dy) const {
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
      ScratchSpace scratch(dy.device());
      backend.conv2d_dgrad(dy, w.elements, geometry, scale, {dx, dskip}, scratch);
    }
    if (want_residual) dresidual = scale == 1 ? dy : imago::scale(dy, scale);
    return {dx, dskip, {}, {}, dper_image_bias, dresidual};
  }
};

Tensor convolve(const Tensor& x, const Tensor& skip, const Filter& w, const Parameter* bias,
                const Conv2dOptions& o) {
  const Conv2dGeometry& g = o.geometry;
  const Shape out{x.dim(0), g.out_height(x.dim(1), w.elements.dim(1)),
                  g.out_width(x.dim(2), w.elements.dim(2)), w.elements.dim(0)};
  check_shapes(x, skip, w.elements, o, out);
  Tensor y = empty(out, x.dtype(), x.device());  // [N,Ho,Wo,K]
  {
    ScratchSpace scratch(x.device());
    const Conv2dEpilogue epilogue{bias ? bias->value.ref() : TensorRef(), o.per_image_bias, o.residual,
                                  o.scale};
    backend_of(x).conv2d({x, skip}, w.elements, g, epilogue, y, scratch);
  }
  const Tensor bias_leaf = bias ? bias->value : Tensor(), dbias = bias_leaf ? bias_leaf.grad() : Tensor();
  check(w.gradient || !dbias, "conv2d: a bias that is trained needs a weight that is trained");
  return record("conv2d", y, {x, skip, w.leaf, bias_leaf, o.per_image_bias, o.residual},
                ConvolveBackward{detached(x), detached(skip), w, dbias, g, o.scale,
                                 x.requires_grad() || skip.requires_grad(), o.per_image_bias.requires_grad(),
                                 o.residual.requires_grad()});
}

}  // namespace

Tensor conv2d(const Tensor& x, const Tensor& skip, const Parameter& weight, const Parameter* bias,
              const Conv2dOptions& options) {
  return convolve(x, skip, filter_of(weight, weight.shape), bias, options);
}

Tensor linear(const Tensor& x, const Parameter& weight, const Parameter* bias, const Tensor& residual,
              float scale) {
  // Rows become the pixels of one picture, one pixel high, and W a 1x1 filter: linear layers have no kernels
  // of their own.
  const auto picture = [](const Tensor& t) {
    return t ? reshape(t, {1, 1, t.numel() / t.dim(-1), t.dim(-1)}) : t;
  };
  const Filter filter = filter_of(weight, {weight.shape[0], 1, 1, weight.shape[1]});
  const Tensor y =
      convolve(picture(x), {}, filter, bias, {{}, {}, picture(residual), scale});  // [1,1,rows,K]
  Shape out;
  for (int i = 0; i + 1 < x.shape().rank(); ++i) out.push_back(x.dim(i));
  out.push_back(weight.shape[0]);
  return reshape(y, out);
}

}  // namespace imago
