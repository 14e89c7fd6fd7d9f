// Differentiable elementwise functions.
#pragma once

#include "engine/autograd/tape.h"

namespace imago {

Tensor silu(const Tensor& x);                         // x sigmoid(x)
Tensor relu(const Tensor& x);                         // max(x, 0)
Tensor scale(const Tensor& x, float factor);          // factor x
Tensor cast(const Tensor& x, DType dtype);            // same values, another float type
Tensor reshape(const Tensor& x, const Shape& shape);  // same elements, another shape

/// alpha a + beta b, of equal shapes.
Tensor add(const Tensor& a, const Tensor& b, float alpha = 1, float beta = 1);

/// Inverted dropout (Srivastava 2014): zero with probability p, else x / (1 - p). x [N,...], ids [N] int64;
/// the mask is a function of (seed, stream, id, element), so backward draws it again instead of keeping it.
Tensor dropout(const Tensor& x, float p, uint64_t seed, uint32_t stream, const Tensor& ids);

}  // namespace imago
