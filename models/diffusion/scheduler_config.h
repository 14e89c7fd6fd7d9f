// diffusers' scheduler/scheduler_config.json, for DDPMScheduler and DDIMScheduler.
#pragma once

#include <filesystem>
#include <nlohmann/json_fwd.hpp>
#include <string>
#include <vector>

#include "models/diffusion/noise_schedule.h"

namespace imago {

enum class PredictionType { kEpsilon, kSample, kVPrediction };
/// "epsilon", "sample", "v_prediction"; anything else is bad input that names `what`.
PredictionType parse_prediction_type(const std::string& name, const std::string& what);
const char* name_of(PredictionType type);

/// Every key, with diffusers' defaults. A file of one scheduler also opens as the other, as in diffusers:
/// what both have is taken over, the rest has its default.
struct SchedulerConfig {
  enum class Kind { kDdpm, kDdim } kind = Kind::kDdpm;
  NoiseScheduleConfig noise;
  PredictionType prediction_type = PredictionType::kEpsilon;
  bool clip_sample = true;  // clamp the predicted x_0 to +-clip_sample_range
  double clip_sample_range = 1;
  bool thresholding = false;  // Saharia 2022: clamp by a quantile of each image instead
  double dynamic_thresholding_ratio = 0.995;
  double sample_max_value = 1;
  std::string timestep_spacing = "leading";   // leading | linspace | trailing
  int steps_offset = 0;                       // added to the steps of "leading"
  std::string variance_type = "fixed_small";  // DDPM: fixed_small | fixed_small_log | fixed_large
  bool set_alpha_to_one = true;               // DDIM: alpha_bar behind the last step is 1, not alpha_bar_0

  bool operator==(const SchedulerConfig&) const = default;
};

/// Errors and warnings as parse_unet_config; learned variances are "not supported".
SchedulerConfig parse_scheduler_config(const nlohmann::json& object, const std::string& file,
                                       std::vector<std::string>& warnings);
SchedulerConfig read_scheduler_config(const std::filesystem::path& file, std::vector<std::string>& warnings);
/// The keys that config.kind has, with _class_name and _diffusers_version.
nlohmann::json to_json(const SchedulerConfig& config);

}  // namespace imago
