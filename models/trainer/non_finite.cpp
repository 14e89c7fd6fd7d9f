#include "models/trainer/non_finite.h"

#include <algorithm>
#include <cmath>

#include "engine/autograd/observer.h"
#include "engine/autograd/tape.h"
#include "engine/nn/dropout.h"

namespace imago {

namespace {

/// The index of the first element that is infinite or NaN, or -1. Integer tensors have none.
int64_t first_non_finite(const Tensor& x) {
  const DType type = x.dtype();
  if (type != DType::kFloat32 && type != DType::kBFloat16 && type != DType::kFloat64) return -1;
  const std::vector<double> values = to_doubles(x);
  const auto at = std::find_if(values.begin(), values.end(), [](double v) { return !std::isfinite(v); });
  return at == values.end() ? -1 : at - values.begin();
}

}  // namespace

Tensor run_micro_batch(UNet& model, const TrainingLoss& loss, const TrainingBatch& batch, const Tensor& dloss,
                       uint64_t seed) {
  const DropoutScope training(seed, batch.ids);
  const Tensor losses = loss(model, batch);  // [N]
  backward(losses, dloss);
  return losses;
}

bool find_non_finite(UNet& model, FlatParameters& parameters, const TrainingLoss& loss,
                     const TrainingBatch& batch, const Tensor& dloss, uint64_t seed, NonFiniteValue& found) {
  bool any = false;
  const int64_t n = batch.ids.numel();
  const OpObserver watch([&](const std::string& layer, const std::string& op, const Tensor& y) {
    if (any) return;
    const int64_t at = first_non_finite(y);
    if (at < 0) return;
    any = true;
    found = {layer, op,
             static_cast<int>(at / (y.numel() / n))};  // images are the outermost extent of all of them
  });
  parameters.zero_gradients();
  run_micro_batch(model, loss, batch, dloss, seed);
  if (any) return true;
  for (const FlatParameters::Entry& e : parameters.entries()) {
    if (first_non_finite(parameters.view(parameters.gradients(), e)) < 0) continue;
    found = {e.name, "gradient", -1};
    return true;
  }
  return false;
}

}  // namespace imago
