// One pass forward and back: the part of a training step that gradient accumulation repeats.
#pragma once

#include <string>
#include <vector>

#include "engine/nn/flat_parameters.h"
#include "models/diffusion/objective.h"

namespace imago {

/// Computes the losses [N] and adds their gradients to those of the model's parameters; dloss [N] says what
/// each image's loss counts. A function of (seed, batch, weights) alone: it can be run again.
Tensor run_micro_batch(UNet& model, const TrainingLoss& loss, const TrainingBatch& batch, const Tensor& dloss,
                       uint64_t seed);

/// Where a value that is not finite first appeared.
struct NonFiniteValue {
  std::string layer, op;  // "down_blocks.0.resnets.1.conv1", "conv2d backward"
  int image = -1;         // within the batch; -1: of no single image (a parameter's gradient)
};

/// Runs the batch again under observation. Returns false, and leaves `found`, where everything is finite. The
/// gradients of `parameters` are spoiled afterwards.
bool find_non_finite(UNet& model, FlatParameters& parameters, const TrainingLoss& loss,
                     const TrainingBatch& batch, const Tensor& dloss, uint64_t seed, NonFiniteValue& found);

}  // namespace imago
