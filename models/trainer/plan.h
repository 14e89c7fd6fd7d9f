// What a training run will cost, before it is started.
#pragma once

#include <vector>

#include "models/trainer/plan_layers.h"
#include "models/trainer/train_config.h"

namespace imago {

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
  int64_t activations = 0;  // and their gradients, at the peak of a step
  // Of the host, where training is on it and the data are known
  int64_t program = 0;  // the process before it trains: code, libraries, and what the set of images holds
  int64_t images = 0;   // decoded, of the training resolution
  int64_t total() const { return weights + gradients + moments + ema + activations + program + images; }
};

/// Runs one training step of `config` on the plan device, which computes nothing and counts (kernels/plan/).
/// The device's scratch memory is not in the count: what a backend asks for differs from one to the next.
TrainingPlan plan_training(const TrainConfig& config);

/// What the loader will hold of so many images: each decoded once and kept, up to its limit. More where
/// images are not square and are cropped at random.
int64_t decoded_bytes(int64_t images, const TrainConfig& config);

}  // namespace imago
