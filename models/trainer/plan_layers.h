// What the layers of a model cost, one by one.
#pragma once

#include <string>
#include <vector>

#include "models/trainer/training_step.h"

namespace imago {

struct PlanLayer {
  std::string path;        // "down_blocks.0.resnets.1.conv1"; "(silu)" for an operation outside any layer
  Shape output;            // of one batch
  int64_t parameters = 0;  // its own, without those of layers below it
  int64_t flops = 0;       // forward, an image
};

/// One forward pass of `step`, which is on the plan device, watched: its layers in the order in which they
/// run. An operation's cost is what was counted since the one before it; consecutive operations of a layer
/// are one row. Operations that cost nothing (a reshape) are left out.
std::vector<PlanLayer> plan_layers(TrainingStep& step);

}  // namespace imago
