#include "models/trainer/non_finite.h"

#include <algorithm>
#include <cmath>

#include "engine/autograd/observer.h"

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

std::optional<NonFiniteValue> find_non_finite(TrainingStep& step, int i) {
  std::optional<NonFiniteValue> found;
  const int64_t n = step.config().batch_size;
  const OpObserver watch([&](const std::string& layer, const std::string& op, const Tensor& y) {
    if (found) return;
    const int64_t at = first_non_finite(y);
    if (at < 0) return;
    // Images are the outermost extent of every result.
    found = {layer, op, static_cast<int>(at / (y.numel() / n))};
  });
  FlatParameters& parameters = step.parameters();
  parameters.zero_gradients();
  step.add_gradients(i);
  if (found) return found;
  for (const FlatParameters::Entry& e : parameters.entries()) {
    if (first_non_finite(parameters.view(parameters.gradients(), e)) >= 0) return {{e.name, "gradient", -1}};
  }
  return std::nullopt;
}

void explain_non_finite(TrainingStep& step, int64_t number) {
  const std::string what = str("step ", number, ": the loss or its gradient is not finite");
  for (int i = 0; i < step.config().gradient_accumulation_steps; ++i) {
    const std::optional<NonFiniteValue> found = find_non_finite(step, i);
    if (!found) continue;
    const std::string where =
        str(what, "; the first such value came out of ", found->op, " in layer ", found->layer);
    if (found->image < 0) throw NonFiniteError(where);
    const auto image = static_cast<size_t>(i * step.config().batch_size + found->image);
    throw NonFiniteError(str(where, ", at timestep ", step.inputs().times()[image], " (image ", found->image,
                             " of the batch)"));
  }
  // Each pass alone may be finite, and their sum not.
  throw NonFiniteError(what + "; the gradients of its batches overflow when they are added");
}

}  // namespace imago
