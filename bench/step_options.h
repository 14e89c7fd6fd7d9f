// What bench_train_step times: a network, a batch, a number type, a device.
#pragma once

#include <cstdio>
#include <string>

#include "models/diffusion/pipeline_folder.h"
#include "models/trainer/train_config.h"

namespace imago {

struct StepOptions {
  int batch = 16, threads = 2, steps = 6, warmup = 2, rounds = 1, head_dim = 8, loader_workers = 4;
  std::string config, mixed_precision = "no", device = "cpu", profile_json;
  bool infer = false, trainer = false, ema = false, json = false, profile = false;

  DType activations() const { return mixed_precision == "bf16" ? DType::kBFloat16 : DType::kFloat32; }
  UNetConfig network() const;
  TrainConfig train_config() const;
};

/// What a step took, in seconds. The parts are zero where a step is timed in one piece.
struct StepTimes {
  double total = 0, forward = 0, backward = 0, optimizer = 0;
  double cpu = 0;  // of all threads
};

/// The network of `config`; without one that of bench/unet_torch.py: 6.80 million parameters, 32x32 RGB,
/// three levels of 64, 128 and 128 channels, attention in the lower two.
inline UNetConfig StepOptions::network() const {
  UNetConfig unet;
  if (!config.empty()) {
    std::vector<std::string> warnings;
    unet = read_unet_config_anywhere(config, warnings);
    for (const std::string& w : warnings) std::fprintf(stderr, "bench_train_step: %s\n", w.c_str());
    if (!unet.sample_size)
      bad_input("--config ", config, ": sample_size is missing: how large are the images?");
    if (unet.takes_class_labels()) bad_input("--config ", config, ": expected a model without class labels");
    return unet;
  }
  unet.sample_size = {{32, 32}};
  unet.down_block_types = {"DownBlock2D", "AttnDownBlock2D", "AttnDownBlock2D"};
  unet.up_block_types = {"AttnUpBlock2D", "AttnUpBlock2D", "UpBlock2D"};
  unet.block_out_channels = {64, 128, 128};
  unet.attention_head_dim = head_dim > 0 ? std::optional(head_dim) : std::nullopt;
  return unet;
}

inline TrainConfig StepOptions::train_config() const {
  TrainConfig c;
  c.unet = network();
  c.height = (*c.unet.sample_size)[0];
  c.width = (*c.unet.sample_size)[1];
  c.batch_size = batch;
  c.random_flip = true;
  c.loader_workers = loader_workers;
  c.max_train_steps = 1 << 30;
  c.device = parse_device(device);
  c.compute = activations();
  if (ema) c.optimizer.ema.emplace();
  return c;
}

}  // namespace imago
