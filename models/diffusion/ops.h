// The fused operations that only diffusion needs, as functions of tensors. The one door from models/ to a
// backend: engine/ knows no diffusion and the rest of models/ no kernels.
#pragma once

#include "engine/tensor/tensor.h"

namespace imago {

/// x_t = c0 x_0 + c1 e and target = c2 x_0 + c3 e, e ~ N(0,1) a function of `key` (Ho 2020, equation 4). x0
/// [N,H,W,C] uint8 (scaled to [-1,1]) or float32, coefficients [N,4] float32; xt [N,H,W,C] of any float type,
/// target [N,H,W,C] float32 (float64). See Backend::q_sample.
void q_sample(const Tensor& x0, const Tensor& coefficients, const RandomKey& key, const Tensor& xt,
              const Tensor& target);

/// The loss of a model that learns its variance: for each image the mean of weight (m - target)^2 + lambda b,
/// with b a term of the variational bound in nats that teaches the variance alone. prediction [N,H,W,2C],
/// target [N,H,W,C] float32 (float64), x0 as q_sample's, weight [N] like target, bound [N,4] float32; result
/// [N] like target. See Backend::hybrid_loss.
Tensor hybrid_loss(const Tensor& prediction, const Tensor& target, const Tensor& x0, const Tensor& weight,
                   const Tensor& bound, float lambda);

/// One update of a sampler, in place: x [N,H,W,C] float32 (float64) becomes y. `tensors` has the network's
/// output m and whatever else the update reads and writes, all on x's device; its x and y are not looked at.
/// See SamplerStep and SamplerTensors.
void sampler_step(const Tensor& x, const SamplerTensors& tensors, const SamplerStep& step,
                  const RandomKey& key);

}  // namespace imago
