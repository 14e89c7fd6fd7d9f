// Every operation of one training step, written down while it runs on the plan device.
#pragma once

#include <vector>

#include "engine/autograd/watched_backend.h"
#include "models/trainer/train_config.h"

namespace imago {

struct RecordedOperation {
  Operation operation;
  int64_t flops = 0, bytes = 0;  // as kernels/plan/plan_backend.h counts
};

/// The second step: what is done once only (frequencies of the time embedding) lies behind it.
std::vector<RecordedOperation> record_training_step(const TrainConfig& config);

}  // namespace imago
