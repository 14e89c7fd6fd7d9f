// Finding out where a training step's numbers first went wrong.
#pragma once

#include <optional>
#include <string>

#include "models/trainer/training_step.h"

namespace imago {

/// A loss or gradient that is infinite or NaN: where it came from, in one line. Nothing was saved from it.
struct NonFiniteError : Error {
  explicit NonFiniteError(const std::string& message) : Error(Fault::kFailure, message) {}
};

/// Where a value that is not finite first appeared.
struct NonFiniteValue {
  std::string layer, op;  // "down_blocks.0.resnets.1.conv1", "conv2d backward"
  int image = -1;         // within the micro-batch; -1: of no single image (a parameter's gradient)
};

/// Runs micro-batch i of the step's inputs again under observation; nothing where all is finite. The step's
/// gradients are spoiled afterwards.
std::optional<NonFiniteValue> find_non_finite(TrainingStep& step, int i);

/// Throws NonFiniteError: which value of which layer and image of update `number` was the first. `step` holds
/// that update's inputs, and the weights from before it.
[[noreturn]] void explain_non_finite(TrainingStep& step, int64_t number);

}  // namespace imago
