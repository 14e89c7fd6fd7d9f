#include "models/trainer/micro_batch.h"

#include <cmath>

#include "engine/autograd/tape.h"
#include "engine/nn/layers.h"

namespace imago {

namespace {

template <class T>
int64_t first_non_finite(const std::vector<T>& x) {
  for (size_t i = 0; i < x.size(); ++i) {
    if (!std::isfinite(static_cast<double>(x[i]))) return static_cast<int64_t>(i);
  }
  return -1;
}

/// The index of the first element that is infinite or NaN, or -1. Integer tensors have none.
int64_t first_non_finite(const Tensor& x) {
  switch (x.dtype()) {
    case DType::kFloat32: return first_non_finite(to_vector<float>(x));
    case DType::kBFloat16: return first_non_finite(to_vector<bf16>(x));
    case DType::kFloat64: return first_non_finite(to_vector<double>(x));
    default: return -1;
  }
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
             static_cast<int>(at / (y.numel() / n))};  // pictures are the outermost extent of all of them
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
