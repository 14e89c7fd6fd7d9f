// A trained model on disk, as diffusers' DDPMPipeline and DDIMPipeline keep it:
//   model_index.json   unet/config.json   unet/diffusion_pytorch_model.safetensors
//   scheduler/scheduler_config.json
#pragma once

#include <filesystem>
#include <string>
#include <vector>

#include "engine/nn/flat_parameters.h"
#include "models/diffusion/scheduler_config.h"
#include "models/unet/config.h"

namespace imago {

/// What a folder says, and where its weights lie: construct a UNet and FlatParameters, then
/// load_weights(weights, ...).
struct PipelineFolder {
  UNetConfig unet;
  /// The defaults (DDPM, linear) where the folder has none: then there is a warning.
  SchedulerConfig scheduler;
  std::filesystem::path weights;  // a safetensors file
  std::vector<std::string> warnings;
};

/// Reads and validates the configurations; the weights stay where they are. Accepts the layout above and the
/// flat one (config.json, weights and scheduler_config.json in the folder itself). A missing folder or file,
/// pickled weights (*.bin; the message says how to convert them), sharded weights and other pipelines or
/// model classes are bad input.
PipelineFolder read_pipeline_folder(const std::filesystem::path& folder);

/// Writes into `folder` (made if missing; its other files stay): unet/ and scheduler/ each in one step,
/// model_index.json last. Every file is on the disk when this returns. `flat`: parameters.values() or an EMA
/// buffer.
void write_pipeline_folder(const std::filesystem::path& folder, const UNetConfig& unet,
                           const SchedulerConfig& scheduler, const FlatParameters& parameters,
                           const Tensor& flat);

/// One model alone: config.json and diffusion_pytorch_model.safetensors, as in unet/ (and unet_ema/ of
/// checkpoints), replaced in one step.
void write_unet_folder(const std::filesystem::path& folder, const UNetConfig& unet,
                       const FlatParameters& parameters, const Tensor& flat);

/// config.json of a model folder, a pipeline folder (its unet/), or a JSON file itself.
UNetConfig read_unet_config_anywhere(const std::filesystem::path& path, std::vector<std::string>& warnings);

}  // namespace imago
