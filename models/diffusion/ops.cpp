#include "models/diffusion/ops.h"

#include "engine/autograd/tape.h"

namespace imago {

void q_sample(const Tensor& x0, const Tensor& coefficients, const RandomKey& key, const Tensor& xt,
              const Tensor& target) {
  backend_of(x0).q_sample(x0, coefficients, key, xt, target);
}

Tensor hybrid_loss(const Tensor& prediction_in, const Tensor& target, const Tensor& x0, const Tensor& weight,
                   const Tensor& bound, float lambda) {
  const int64_t images = target.dim(0), channels = target.dim(-1);
  check(prediction_in.dim(-1) == 2 * channels && prediction_in.numel() == 2 * target.numel() &&
            x0.shape() == target.shape(),
        "hybrid_loss: prediction ", prediction_in.shape(), ", target ", target.shape(), ", images ",
        x0.shape());
  check(weight.shape() == Shape{images} && bound.shape() == Shape{images, 4},
        "hybrid_loss: weights must be [N] and numbers of the bound [N,4]");
  Tensor loss = empty({images}, target.dtype(), target.device());  // [N]
  const auto inputs = [=, prediction = prediction_in.detach()] {
    return HybridLossInputs{prediction, target, x0, weight, bound, lambda};
  };
  backend_of(target).hybrid_loss(inputs(), loss);
  return record("hybrid_loss", loss, {prediction_in},
                [=, prediction = prediction_in.detach()](const Tensor& dloss) {
                  Tensor dprediction = empty_like(prediction);  // [N,H,W,2C]
                  backend_of(dloss).hybrid_loss_backward(dloss, inputs(), dprediction);
                  return Gradients{dprediction};
                });
}

void sampler_step(const Tensor& x, const SamplerTensors& tensors, const SamplerStep& step,
                  const RandomKey& key) {
  SamplerTensors t = tensors;
  t.x = t.y = x;
  backend_of(x).sampler_step(t, step, key);
}

}  // namespace imago
