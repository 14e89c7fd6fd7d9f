#include "bench/step_operations.h"

#include <map>

#include "lab/cost_model/recorded_step.h"

namespace imago {

namespace {

/// "16x32x32x64"
std::string extents(const Shape& shape) {
  std::string text;
  for (int i = 0; i < shape.rank(); ++i) text += (i ? "x" : "") + std::to_string(shape[i]);
  return text;
}

}  // namespace

std::string StepOperation::name() const {
  const Operation& o = operation;
  std::string text = std::string(o.name) + "/" + extents(o.x.a.shape);
  if (o.x.b) text += "+" + std::to_string(o.x.b.shape[-1]);
  if (o.w) text += "/" + extents(o.w.shape);
  if (o.geometry.stride > 1) text += "/stride" + std::to_string(o.geometry.stride);
  if (o.heads) text += "/heads" + std::to_string(o.heads);
  if (o.norm.activation == Activation::kSilu) text += "/silu";
  if (o.scale_shift) text += "/scale_shift";
  return text;
}

std::vector<StepOperation> distinct_operations(const TrainConfig& config) {
  std::vector<StepOperation> found;
  std::map<std::string, size_t> place;
  for (const RecordedOperation& r : record_training_step(config)) {
    StepOperation one{r.operation, r.flops, r.bytes, 0};
    const auto [entry, is_new] = place.try_emplace(one.name(), found.size());
    if (is_new) found.push_back(std::move(one));
    ++found[entry->second].calls;
  }
  return found;
}

}  // namespace imago
