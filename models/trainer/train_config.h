// Everything that decides what a training run computes.
#pragma once

#include <filesystem>
#include <optional>
#include <string>

#include "engine/optim/adamw.h"
#include "models/diffusion/objective.h"
#include "models/diffusion/scheduler_config.h"
#include "models/unet/config.h"

namespace imago {

/// The defaults are those of diffusers' train_unconditional.py.
struct TrainConfig {
  UNetConfig unet;
  SchedulerConfig scheduler;
  std::filesystem::path initial_weights;  // start from these (fine-tuning); empty: from random numbers

  int64_t height = 64, width = 64;      // of the images in training
  int batch_size = 16;                  // images that go through the network together
  int gradient_accumulation_steps = 1;  // batches an update
  bool center_crop = false, random_flip = false;
  int loader_workers = 0;

  int64_t max_train_steps = 0;  // updates; the learning rate's schedule is laid over them
  double learning_rate = 1e-4;
  std::string lr_scheduler = "cosine";
  int64_t lr_warmup_steps = 500;
  AdamW::Options optimizer;
  LossWeighting weighting = LossWeighting::kOne;
  double snr_gamma = 5;                     // for LossWeighting::kMinSnr
  std::optional<LevelDistribution> levels;  // of flow matching and EDM; absent: default_levels()
  /// The share of samples that are shown unet.imago_null_class instead of their class.
  double class_dropout = 0;

  uint64_t seed = 0;
  Device device = Device::kCpu;
  DType compute = DType::kFloat32;  // of activations and weight copies; master weights are float32
  bool gradient_checkpointing = false;

  /// How many steps may be on their way when the losses of the first are read: waiting for a GPU costs time.
  /// 1: a step's losses are read before its update. 0: 1 on a CPU, 16 elsewhere.
  int steps_in_flight = 0;

  int64_t images_per_step() const { return int64_t{batch_size} * gradient_accumulation_steps; }
};

}  // namespace imago
