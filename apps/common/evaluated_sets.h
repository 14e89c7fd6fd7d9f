// The sets of images of an evaluation: samples of a model, images of a folder, the data to compare with.
#pragma once

#include <memory>

#include "apps/common/evaluate_options.h"
#include "apps/common/stage.h"
#include "apps/common/trained_model.h"
#include "models/diffusion/sampling_plan.h"
#include "models/evaluation/image_set.h"

namespace imago {

/// How a model is asked for images.
struct SamplingRun {
  int64_t images = 0, height = 0, width = 0;
  uint64_t seed = 0;
  std::optional<int> class_label;
  double guidance_scale = 1;
  std::optional<std::pair<double, double>> guidance_interval;
  int batch_size = 1;
  Device device = Device::kCpu;
  DType compute = DType::kFloat32;
};

/// As many images as are asked for, rounded to 8 bits as in files, with the classes that were asked for.
/// Images of a seed are the same ones under every plan.
ImageSet sample_images(UNet& model, const SamplingPlan& plan, const SamplingRun& run,
                       const StopSignals& signals, const std::string& label);

/// At most `most` images of a folder or file, as they are. Bad input where their sizes or channels differ, or
/// where there are none.
ImageSet read_samples(const std::string& path, int64_t most, const StopSignals& signals);

/// The data as load_images takes them.
ImageSet read_data(const std::string& label, const std::shared_ptr<const Dataset>& data, int64_t height,
                   int64_t width, int64_t channels, std::optional<int64_t> most, uint64_t seed,
                   const StopSignals& signals);

}  // namespace imago
