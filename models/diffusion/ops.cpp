#include "models/diffusion/ops.h"

namespace imago {

void q_sample(const Tensor& x0, const Tensor& coefficients, const RandomKey& key, const Tensor& xt,
              const Tensor& target) {
  backend_of(x0).q_sample(x0, coefficients, key, xt, target);
}

Tensor sampler_step(const Tensor& x, const Tensor& m, const SamplerStep& step, const RandomKey& key) {
  const Tensor y = empty_like(x);  // [N,H,W,C]
  backend_of(x).sampler_step({.x = x, .m = m, .y = y}, step, key);
  return y;
}

}  // namespace imago
