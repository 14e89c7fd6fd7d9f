// Differentiable losses.
#pragma once

#include "engine/autograd/tape.h"

namespace imago {

/// loss[n] = weight[n] * mean_i (prediction[n,i] - target[n,i])^2. prediction, target [N,...], weight [N]
/// float32; result [N] float32.
Tensor mse_loss(const Tensor& prediction, const Tensor& target, const Tensor& weight);

/// Softmax cross entropy: loss[n] = log sum_k exp(logits[n,k]) - logits[n, label[n]]. logits [N,K], label [N]
/// int32 in 0 .. K-1 (the caller's to check: it lies on the device); result [N] float32.
Tensor cross_entropy(const Tensor& logits, const Tensor& label);

}  // namespace imago
