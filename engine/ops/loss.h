// Differentiable losses.
#pragma once

#include "engine/autograd/tape.h"

namespace imago {

/// loss[n] = weight[n] * mean_i (prediction[n,i] - target[n,i])^2. prediction, target [N,...], weight [N]
/// float32; result [N] float32.
Tensor mse_loss(const Tensor& prediction, const Tensor& target, const Tensor& weight);

}  // namespace imago
