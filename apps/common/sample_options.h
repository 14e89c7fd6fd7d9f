// The command line of sample_ddpm.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <utility>

#include "apps/common/sampler_flags.h"

namespace imago {

struct SampleOptions {
  std::string model;
  bool raw_weights = false;
  std::optional<int> num_images, resolution, class_label, start_timestep;
  SamplerFlags sampler;
  uint64_t seed = 0;
  double guidance_scale = 1;
  std::optional<std::pair<double, double>> guidance_interval;
  std::optional<std::pair<uint64_t, uint64_t>> interpolate;  // seeds
  std::string initial_noise, init_image, mask, invert;       // files
  double strength = 0.8;
  bool strength_given = false;
  int resample = 10;
  int batch_size = 16;
  std::string device = "auto", mixed_precision = "no";
  std::string output, output_dir, save_tensors, trajectory, animation;
  int columns = 0;
};

/// Bad input, naming the option, for anything that is not as it should be. Nothing: --help was printed.
std::optional<SampleOptions> parse_sample_options(int argc, const char* const* argv);

}  // namespace imago
