#include "engine/ops/loss.h"

namespace imago {

Tensor mse_loss(const Tensor& prediction_in, const Tensor& target, const Tensor& weight) {
  check(prediction_in.shape() == target.shape(), "mse_loss: prediction ", prediction_in.shape(), ", target ",
        target.shape());
  Tensor loss = empty({prediction_in.dim(0)}, target.dtype(), target.device());  // [N]
  backend_of(target).mse_loss(prediction_in, target, weight, loss);
  return record("mse_loss", loss, {prediction_in},
                [=, prediction = prediction_in.detach()](const Tensor& dloss) {
                  Tensor dprediction = empty_like(prediction);
                  backend_of(target).mse_loss_backward(dloss, prediction, target, weight, dprediction);
                  return Gradients{dprediction};
                });
}

}  // namespace imago
