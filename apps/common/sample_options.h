// The command line of sample_ddpm.
#pragma once

#include <cstdint>
#include <optional>
#include <string>

namespace imago {

struct SampleOptions {
  std::string model;
  bool raw_weights = false;
  std::optional<int> num_images, num_inference_steps, resolution, class_label;
  std::string scheduler = "auto";  // auto: what the model folder says
  double eta = 0;
  bool eta_given = false;
  uint64_t seed = 0;
  int batch_size = 16;
  std::string device = "auto", mixed_precision = "no";
  std::string output, output_dir, initial_noise, save_tensors;
  int columns = 0;
};

/// Bad input, naming the option, for anything that is not as it should be. Nothing: --help was printed.
std::optional<SampleOptions> parse_sample_options(int argc, const char* const* argv);

}  // namespace imago
