#include "models/diffusion/ops.h"

namespace imago {

void q_sample(const Tensor& x0, const Tensor& coefficients, const RandomKey& key, const Tensor& xt,
              const Tensor& target) {
  backend_of(x0).q_sample(x0, coefficients, key, xt, target);
}

void sampler_step(const Tensor& x, const SamplerTensors& tensors, const SamplerStep& step,
                  const RandomKey& key) {
  SamplerTensors t = tensors;
  t.x = t.y = x;
  backend_of(x).sampler_step(t, step, key);
}

}  // namespace imago
