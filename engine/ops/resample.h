// Differentiable resampling by two.
#pragma once

#include "engine/autograd/tape.h"

namespace imago {

Tensor upsample2x(const Tensor& x);  // nearest: [N,H,W,C] -> [N,2H,2W,C]
Tensor avg_pool2x(const Tensor& x);  // mean of 2x2 blocks: [N,2H,2W,C] -> [N,H,W,C]

}  // namespace imago
