// What a training run will cost, before it is started: `train_ddpm --plan`.
#pragma once

#include <string>
#include <vector>

#include "models/trainer/non_finite.h"
#include "models/trainer/step_inputs.h"

namespace imago {

struct PlanLayer {
  std::string path;        // "down_blocks.0.resnets.1.conv1"; "(silu)" for an operation outside any layer
  Shape output;            // of one batch
  int64_t parameters = 0;  // its own, without those of layers below it
  int64_t flops = 0;       // forward, an image
};

struct TrainingPlan {
  std::vector<PlanLayer> layers;  // in the order in which they run
  int64_t parameters = 0, tensors = 0;
  int64_t forward_flops = 0;  // an image
  int64_t step_flops = 0;     // an image: forward, backward and its share of the update
  // Bytes
  int64_t weights = 0;  // float32, and the bfloat16 copy where there is one
  int64_t gradients = 0;
  int64_t moments = 0;  // Adam's two
  int64_t ema = 0;
  int64_t activations =
      0;  // at the peak of a step: everything else, gradients of activations and the batch included
  int64_t total() const { return weights + gradients + moments + ema + activations; }
};

/// A training run on the plan device, which computes nothing and counts (kernels/plan/).
struct PlannedTraining {
  explicit PlannedTraining(const TrainConfig& config);
  void step();  // the operations of an update, as Trainer::step() runs them

  const TrainConfig config;
  UNet model;
  FlatParameters parameters;
  AdamW optimizer;
  TrainingLoss loss;
  StepInputs inputs;
  Tensor dloss;  // [batch_size] float32
};

/// Runs one training step of `config` on the plan device, which computes nothing and counts (kernels/plan/).
/// The device's scratch memory is not in the count: what a backend asks for differs from one to the next.
TrainingPlan plan_training(const TrainConfig& config);

/// As tables of text, with units.
std::string format_plan(const TrainingPlan& plan, const TrainConfig& config);

}  // namespace imago
