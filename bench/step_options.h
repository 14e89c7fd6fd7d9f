// What bench_train_step times: a network, a batch, a number type, a device.
#pragma once

#include <cstdio>
#include <string>

#include "models/diffusion/pipeline_folder.h"

namespace imago {

struct StepOptions {
  int batch = 16, threads = 2, steps = 6, warmup = 2, rounds = 1, head_dim = 8, loader_workers = 4;
  std::string config, mixed_precision = "no", device = "cpu", profile_json;
  bool infer = false, trainer = false, ema = false, json = false, profile = false;

  DType activations() const { return mixed_precision == "bf16" ? DType::kBFloat16 : DType::kFloat32; }
};

/// What a step took, in seconds. The parts are zero where a step is timed in one piece.
struct StepTimes {
  double total = 0, forward = 0, backward = 0, optimizer = 0;
  double cpu = 0;  // of all threads
};

/// The network of options.config; without one that of bench/unet_torch.py: 6.80 million parameters, 32x32
/// RGB, three levels of 64, 128 and 128 channels, attention in the lower two.
inline UNetConfig network(const StepOptions& options) {
  UNetConfig config;
  if (!options.config.empty()) {
    std::vector<std::string> warnings;
    config = read_unet_config_anywhere(options.config, warnings);
    for (const std::string& w : warnings) std::fprintf(stderr, "bench_train_step: %s\n", w.c_str());
    if (!config.sample_size)
      bad_input("--config ", options.config, ": sample_size is missing: how large are the images?");
    if (config.takes_class_labels())
      bad_input("--config ", options.config, ": expected a model without class labels");
    return config;
  }
  config.sample_size = {{32, 32}};
  config.down_block_types = {"DownBlock2D", "AttnDownBlock2D", "AttnDownBlock2D"};
  config.up_block_types = {"AttnUpBlock2D", "AttnUpBlock2D", "UpBlock2D"};
  config.block_out_channels = {64, 128, 128};
  config.attention_head_dim = options.head_dim > 0 ? std::optional(options.head_dim) : std::nullopt;
  return config;
}

}  // namespace imago
