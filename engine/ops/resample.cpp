#include "engine/ops/resample.h"

namespace imago {

namespace {

Tensor repeat(const Tensor& x, float factor) {  // every pixel becomes a 2x2 block of factor * x
  Tensor y = empty({x.dim(0), 2 * x.dim(1), 2 * x.dim(2), x.dim(3)}, x.dtype(), x.device());
  backend_of(x).upsample2x(x, factor, y);
  return y;
}

Tensor pool(const Tensor& x, float factor) {  // every 2x2 block becomes factor * its sum
  Tensor y = empty({x.dim(0), x.dim(1) / 2, x.dim(2) / 2, x.dim(3)}, x.dtype(), x.device());
  backend_of(x).sum_pool2x(x, factor, y);
  return y;
}

}  // namespace

Tensor upsample2x(const Tensor& x) {
  return record("upsample2x", repeat(x, 1), {x}, [](const Tensor& dy) { return Gradients{pool(dy, 1)}; });
}

Tensor avg_pool2x(const Tensor& x) {
  check(x.dim(1) % 2 == 0 && x.dim(2) % 2 == 0, "avg_pool2x: ", x.shape(), " has an odd height or width");
  return record("avg_pool2x", pool(x, 0.25f), {x},
                [](const Tensor& dy) { return Gradients{repeat(dy, 0.25f)}; });
}

}  // namespace imago
