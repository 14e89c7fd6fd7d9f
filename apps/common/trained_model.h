// A trained model from its folder, and the classes that it is asked for.
#pragma once

#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "models/diffusion/pipeline_folder.h"
#include "models/unet/unet.h"

namespace imago {

/// A network with its weights, ready to sample.
struct TrainedModel {
  PipelineFolder folder;
  std::unique_ptr<UNet> unet;
  std::unique_ptr<FlatParameters> parameters;
};

/// Reads a pipeline folder or a checkpoint of train_ddpm; of that the moving average, unless `raw_weights`.
/// Warnings about the folder are `program`'s.
TrainedModel open_trained_model(const std::string& program, const std::string& path, bool raw_weights,
                                Device device, DType compute);

/// How many classes a model can be asked for: those of its table, without the row that stands for none. 0:
/// it has no table.
int classes_of(const UNetConfig& unet);

/// Classes of images first .. first + count - 1: `class_label`, or one class after the other. Empty for a
/// model without classes. Bad input where class or guidance are asked of a model that has none of them.
std::vector<int> classes_to_sample(const UNetConfig& unet, const std::optional<int>& class_label,
                                   double guidance_scale, int64_t first, int64_t count);

}  // namespace imago
