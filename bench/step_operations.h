// The operations of a training step, each kind once: what bench_kernels times.
#pragma once

#include <string>
#include <vector>

#include "engine/autograd/watched_backend.h"
#include "models/trainer/train_config.h"

namespace imago {

struct StepOperation {
  Operation operation;  // of the first layer that runs it
  int64_t flops = 0, bytes = 0;
  int calls = 0;  // a step

  std::string name() const;  // "conv2d/16x32x32x64/64x3x3x64": no spaces, unique in a step
};

/// Of the training step that `config` describes, in the order in which they first run. Two calls are of one
/// kind if their shapes, geometry, number of heads, sources and activation are the same.
std::vector<StepOperation> distinct_operations(const TrainConfig& config);

}  // namespace imago
