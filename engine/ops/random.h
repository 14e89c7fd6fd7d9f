// Random tensors.
#pragma once

#include "engine/tensor/tensor.h"

namespace imago {

/// N(0,1) numbers [N,...] of `dtype`: element i of image n is a function of (key.seed, key.stream,
/// key.ids[n], i) alone (see kernels/philox.h). Not differentiable.
Tensor normal(const Shape& shape, const RandomKey& key, DType dtype, Device device);

}  // namespace imago
