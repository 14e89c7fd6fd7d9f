#include "engine/ops/pooling.h"

#include <algorithm>

#include "engine/ops/elementwise.h"

namespace imago {

namespace {

/// The result of pooling x [N,H,W,C], not yet computed: [N,Ho,Wo,C]. Every window must hold a pixel of the
/// image.
Tensor empty_pooled(const char* op, const Tensor& x, const PoolWindow& window) {
  const Conv2dGeometry& g = window.geometry;
  check(x.shape().rank() == 4, op, ": expected an image [N,H,W,C], not ", x.shape());
  check(
      g.stride >= 1 && std::max(g.top, g.bottom) < window.rows && std::max(g.left, g.right) < window.columns,
      op, ": a window of ", window.rows, " x ", window.columns, " could lie outside of the image");
  const Shape y{x.dim(0), g.out_height(x.dim(1), window.rows), g.out_width(x.dim(2), window.columns),
                x.dim(3)};
  check(x.dim(1) + g.top + g.bottom >= window.rows && x.dim(2) + g.left + g.right >= window.columns, op,
        ": image ", x.shape(), ", window ", window.rows, " x ", window.columns);
  return empty(y, x.dtype(), x.device());
}

}  // namespace

Tensor avg_pool(const Tensor& x, const PoolWindow& window) {
  Tensor y = empty_pooled("avg_pool", x, window);  // [N,Ho,Wo,C]
  backend_of(x).avg_pool(x, window, y);
  return record("avg_pool", y, {x}, [window, shape = x.shape()](const Tensor& dy) {
    Tensor dx = empty(shape, dy.dtype(), dy.device());  // [N,H,W,C]
    backend_of(dy).avg_pool_backward(dy, window, dx);
    return Gradients{dx};
  });
}

Tensor global_avg_pool(const Tensor& x) {
  const int rows = static_cast<int>(x.dim(1)), columns = static_cast<int>(x.dim(2));
  return reshape(avg_pool(x, {rows, columns, {}}), {x.dim(0), x.dim(3)});  // [N,C]
}

Tensor max_pool(const Tensor& x, const PoolWindow& window) {
  check(!grad_enabled() || !x.requires_grad(), "max_pool: has no gradient");
  Tensor y = empty_pooled("max_pool", x, window);  // [N,Ho,Wo,C]
  backend_of(x).max_pool(x, window, y);
  return y;
}

}  // namespace imago
