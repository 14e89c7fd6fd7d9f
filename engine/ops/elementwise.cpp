#include "engine/ops/elementwise.h"

namespace imago {

Tensor silu(const Tensor& x) {  // y = x s, s = 1 / (1 + exp(-x))
  Tensor y = empty_like(x);
  backend_of(x).silu(x, y);
  return record("silu", y, {x}, [x = x.detach()](const Tensor& dy) {  // dx = dy s (1 + x (1 - s))
    Tensor dx = empty_like(x);
    backend_of(x).silu_backward(dy, x, dx);
    return Gradients{dx};
  });
}

Tensor relu(const Tensor& x) {  // y = max(x, 0)
  Tensor y = empty_like(x);
  backend_of(x).relu(x, y);
  return record("relu", y, {x}, [x = x.detach()](const Tensor& dy) {  // dx = x > 0 ? dy : 0
    Tensor dx = empty_like(x);
    backend_of(x).relu_backward(dy, x, dx);
    return Gradients{dx};
  });
}

Tensor add(const Tensor& a, const Tensor& b, float alpha, float beta) {
  check(a.shape() == b.shape() && a.dtype() == b.dtype(), "add: ", a.shape(), " and ", b.shape());
  Tensor y = empty_like(a);
  backend_of(a).add(a, alpha, b, beta, y);
  return record("add", y, {a, b}, [alpha, beta](const Tensor& dy) {  // da = alpha dy, db = beta dy
    const auto times = [&dy](float factor) { return factor == 1 ? dy : scale(dy, factor); };
    return Gradients{times(alpha), times(beta)};
  });
}

Tensor scale(const Tensor& x, float factor) {
  Tensor y = empty_like(x);
  backend_of(x).add(x, factor, x, 0, y);
  return record("scale", y, {x}, [factor](const Tensor& dy) { return Gradients{scale(dy, factor)}; });
}

Tensor cast(const Tensor& x, DType dtype) {
  if (x.dtype() == dtype) return x;
  Tensor y = empty(x.shape(), dtype, x.device());
  backend_of(x).copy(x, y);
  return record("cast", y, {x}, [from = x.dtype()](const Tensor& dy) { return Gradients{cast(dy, from)}; });
}

Tensor reshape(const Tensor& x, const Shape& shape) {
  return record("reshape", x.view(shape), {x},
                [from = x.shape()](const Tensor& dy) { return Gradients{dy.view(from)}; });
}

Tensor dropout(const Tensor& x, float p, uint64_t seed, uint32_t stream, const Tensor& ids) {
  check(p >= 0 && p < 1, "dropout: probability ", p, " is not in [0, 1)");
  check(ids.shape() == Shape{x.dim(0)}, "dropout: one id per image");
  const auto apply = [=](const Tensor& in) {
    Tensor out = empty_like(in);
    backend_of(in).dropout(in, p, {seed, stream, ids}, out);
    return out;
  };
  return record("dropout", apply(x), {x},
                [apply](const Tensor& dy) { return Gradients{apply(dy)}; });  // the same mask
}

}  // namespace imago
