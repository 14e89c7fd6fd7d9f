// The command line of evaluate_ddpm.
#pragma once

#include <cstdint>
#include <optional>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "apps/common/sampler_flags.h"

namespace imago {

enum class Metric { kBits, kLoss, kFrechet, kKernel, kPrecision, kNeighbours, kAccuracy };

struct EvaluateOptions {
  std::string model, data, samples, features;  // paths
  bool raw_weights = false;
  std::string split = "test";
  std::optional<int> num_data_images, resolution;
  std::set<Metric> metrics;
  bool metrics_given = false;
  // Likelihood
  int likelihood_images = 1000;
  std::optional<int> num_timesteps;
  // Samples
  int num_images = 1000;
  uint64_t seed = 0;
  std::optional<int> class_label;
  double guidance_scale = 1;
  std::optional<std::pair<double, double>> guidance_interval;
  SamplerFlags sampler;
  std::vector<std::string> sweep_schedulers;
  std::vector<int> sweep_steps;
  std::vector<double> sweep_guidance;
  // Machine
  int batch_size = 64;
  std::string device = "auto", mixed_precision = "no";
  std::string output = "evaluation";
  /// Every option that was given, with its value.
  std::vector<std::pair<std::string, std::string>> given;

  bool asks_for(Metric metric) const { return metrics.contains(metric); }
  /// Of those that look at samples.
  bool needs_samples() const;
  bool needs_features() const;
};

const char* name_of(Metric metric);

/// Bad input, naming the option, for anything that is not as it should be. Nothing: --help was printed.
std::optional<EvaluateOptions> parse_evaluate_options(int argc, const char* const* argv);

}  // namespace imago
