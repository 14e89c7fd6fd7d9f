// Training a classifier: softmax cross entropy, AdamW, a learning rate that falls along a cosine.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "engine/data/loader.h"
#include "engine/optim/adamw.h"
#include "engine/optim/lr_schedule.h"
#include "models/report/metrics.h"
#include "models/resnet/resnet.h"

namespace imago {

/// Everything that decides what the training computes.
struct ClassifierTrainConfig {
  ResNetConfig model;
  int batch_size = 128;
  int64_t max_train_steps = 0;  // updates; the learning rate's schedule is laid over them
  double learning_rate = 3e-3;
  int64_t lr_warmup_steps = 100;
  AdamW::Options optimizer = {.beta1 = 0.9, .weight_decay = 0.05, .ema = {}};
  bool random_flip = false;
  int loader_workers = 0;
  uint64_t seed = 0;
  Device device = Device::kCpu;
};

class ClassifierTraining {
 public:
  /// Weights from random numbers. Bad input where the data and the model do not fit: the set's classes are
  /// not the model's, or an image has none.
  ClassifierTraining(const ClassifierTrainConfig& config, std::shared_ptr<const Dataset> data);

  /// One update. A loss that is not finite is a failure.
  MetricsRow step();

  int64_t steps_done() const { return optimizer_.steps(); }
  bool finished() const { return steps_done() >= config_.max_train_steps; }
  /// Whole times that the data has been gone through.
  int64_t epochs_done() const { return steps_done() / loader_.batches_per_epoch(); }

  ResNet& model() { return model_; }
  FlatParameters& parameters() { return parameters_; }
  const ClassifierTrainConfig& config() const { return config_; }

 private:
  ClassifierTrainConfig config_;
  ResNet model_;
  FlatParameters parameters_;
  AdamW optimizer_;
  LearningRate learning_rate_;
  Tensor mean_;  // [N] float32: what a loss counts in the mean

  std::vector<uint8_t> pixels_;  // of the loader's ring
  std::vector<int64_t> ids_;
  std::vector<int32_t> labels_;
  BatchLoader loader_;
};

}  // namespace imago
