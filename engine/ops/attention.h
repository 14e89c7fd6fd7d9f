// Differentiable multi-head attention.
#pragma once

#include "engine/autograd/tape.h"

namespace imago {

/// softmax(scale q k^T) v per head. q, k, v [N,T,heads*D]; result [N,T,heads*D].
Tensor attention(const Tensor& q, const Tensor& k, const Tensor& v, int heads, float scale);

}  // namespace imago
