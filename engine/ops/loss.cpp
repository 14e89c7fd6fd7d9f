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

Tensor cross_entropy(const Tensor& logits_in, const Tensor& label) {
  check(logits_in.shape().rank() == 2 && label.shape() == Shape{logits_in.dim(0)} &&
            label.dtype() == DType::kInt32,
        "cross_entropy: logits must be [N,K] and labels [N] int32");
  const DType exact = logits_in.dtype() == DType::kFloat64 ? DType::kFloat64 : DType::kFloat32;
  Tensor loss = empty({logits_in.dim(0)}, exact, logits_in.device());  // [N]
  backend_of(logits_in).cross_entropy(logits_in, label, loss);
  return record("cross_entropy", loss, {logits_in},
                [logits = logits_in.detach(), label](const Tensor& dloss) {
                  Tensor dlogits = empty_like(logits);  // [N,K]
                  backend_of(dloss).cross_entropy_backward(dloss, logits, label, dlogits);
                  return Gradients{dlogits};
                });
}

}  // namespace imago
