#include "engine/ops/random.h"

namespace imago {

Tensor normal(const Shape& shape, const RandomKey& key, DType dtype, Device device) {
  const Tensor y = empty(shape, dtype, device);  // [N,...]
  backend_of(y).normal(key, y);
  return y;
}

}  // namespace imago
