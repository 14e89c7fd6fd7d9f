// google/ddpm-cifar10-32 in training, and small U-Nets: what the tests of the cost model look at.
#pragma once

#include "models/diffusion/pipeline_folder.h"
#include "models/trainer/train_config.h"

namespace imago::test {

/// 35.7 million parameters, 32x32 RGB, bfloat16, AdamW with clipping and EMA.
inline TrainConfig cifar10_training(int batch_size) {
  TrainConfig c;
  std::vector<std::string> warnings;
  c.unet = read_unet_config_anywhere(IMAGO_SOURCE_DIR "/bench/configs/ddpm_cifar10_32.json", warnings);
  check(warnings.empty(), "ddpm_cifar10_32.json: unknown keys");
  c.height = c.width = 32;
  c.batch_size = batch_size;
  c.compute = DType::kBFloat16;
  c.optimizer.ema.emplace();
  return c;
}

}  // namespace imago::test
