// The two fused operations that only diffusion needs, as functions of tensors. The one door from models/ to a
// backend: engine/ knows no diffusion and the rest of models/ no kernels.
#pragma once

#include "engine/tensor/tensor.h"

namespace imago {

/// x_t = c0 x_0 + c1 e and target = c2 x_0 + c3 e, e ~ N(0,1) a function of `key` (Ho 2020, equation 4). x0
/// [N,H,W,C] uint8 (scaled to [-1,1]) or float32, coefficients [N,4] float32; xt [N,H,W,C] of any float type,
/// target [N,H,W,C] float32 (float64). See Backend::q_sample.
void q_sample(const Tensor& x0, const Tensor& coefficients, const RandomKey& key, const Tensor& xt,
              const Tensor& target);

/// One update of a sampler, in place: x [N,H,W,C] float32 (float64) becomes y. `tensors` has the network's
/// output m and whatever else the update reads and writes, all on x's device; its x and y are not looked at.
/// See SamplerStep and SamplerTensors.
void sampler_step(const Tensor& x, const SamplerTensors& tensors, const SamplerStep& step,
                  const RandomKey& key);

}  // namespace imago
