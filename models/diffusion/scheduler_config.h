// diffusers' scheduler/scheduler_config.json, for the classes that Kind lists.
#pragma once

#include <filesystem>
#include <limits>
#include <nlohmann/json_fwd.hpp>
#include <optional>
#include <string>
#include <vector>

#include "models/diffusion/noise_schedule.h"

namespace imago {

enum class PredictionType { kEpsilon, kSample, kVPrediction };
/// "epsilon", "sample", "v_prediction"; anything else is bad input that names `what`.
PredictionType parse_prediction_type(const std::string& name, const std::string& what);
const char* name_of(PredictionType type);

/// Every key of every class, with the defaults of DDPMScheduler; defaults_of() has those of the others. Keys
/// have diffusers' names.
struct SchedulerConfig {
  enum class Kind {
    kDdpm,
    kDdim,
    kDpmSolver,       // DPMSolverMultistepScheduler
    kUniPc,           // UniPCMultistepScheduler
    kEuler,           // EulerDiscreteScheduler
    kEulerAncestral,  // EulerAncestralDiscreteScheduler
    kHeun,            // HeunDiscreteScheduler
    kEdmEuler,        // EDMEulerScheduler
    kFlowEuler,       // FlowMatchEulerDiscreteScheduler
    kFlowHeun,        // FlowMatchHeunDiscreteScheduler
  } kind = Kind::kDdpm;
  NoiseScheduleConfig noise;
  PredictionType prediction_type = PredictionType::kEpsilon;
  bool clip_sample = true;  // clamp the predicted x_0 to +-clip_sample_range
  double clip_sample_range = 1;
  bool thresholding = false;  // Saharia 2022: clamp by a quantile of each image instead
  double dynamic_thresholding_ratio = 0.995;
  double sample_max_value = 1;
  std::string timestep_spacing = "leading";  // leading | linspace | trailing
  int steps_offset = 0;                      // added to the steps of "leading"
  /// DDPM: fixed_small | fixed_small_log | fixed_large | fixed_large_log | learned | learned_range.
  std::string variance_type = "fixed_small";
  bool set_alpha_to_one = true;  // DDIM: alpha_bar behind the last step is 1, not alpha_bar_0
  // ---- DPM-Solver++, UniPC ----
  int solver_order = 2;                        // 1 to 3
  std::string algorithm_type = "dpmsolver++";  // dpmsolver++ | sde-dpmsolver++
  std::string solver_type = "midpoint";        // DPM-Solver++: midpoint | heun; UniPC: bh1 | bh2
  bool lower_order_final = true;            // lower orders in the last steps (DPM-Solver++: of fewer than 15)
  bool euler_at_final = false;              // order 1 in the last step
  double lambda_min_clipped = -kUnbounded;  // leave out times with a smaller ln(alpha / sigma)
  bool predict_x0 = true;                   // UniPC: integrate x_0 rather than epsilon
  std::vector<int> disable_corrector;       // UniPC: after these steps
  // ---- Noise levels: all but DDPM and DDIM ----
  bool use_karras_sigmas = false, use_exponential_sigmas = false, use_beta_sigmas = false;
  bool use_lu_lambdas = false;                 // DPM-Solver++
  std::string final_sigmas_type = "zero";      // zero | sigma_min: the level behind the last step
  std::string interpolation_type = "linear";   // Euler: linear | log_linear
  std::string timestep_type = "discrete";      // Euler: discrete | continuous, ln(sigma) / 4 for v prediction
  std::optional<double> sigma_min, sigma_max;  // the ends of Karras', exponential and beta levels
  // ---- EDM ----
  double sigma_data = 0.5, rho = 7;
  std::string sigma_schedule = "karras";  // karras | exponential
  // ---- Flow matching ----
  double shift = 1;                      // > 1: more steps near the noise
  std::optional<double> shift_terminal;  // the last level before zero
  bool stochastic_sampling = false;

  static constexpr double kUnbounded = std::numeric_limits<double>::infinity();
  bool operator==(const SchedulerConfig&) const = default;
};

/// diffusers' name of the class.
const char* name_of(SchedulerConfig::Kind kind);
/// Models of a kind with betas are trained at the times 0 .. T-1; flow matching and EDM have noise levels.
bool has_betas(SchedulerConfig::Kind kind);
bool is_flow(SchedulerConfig::Kind kind);
/// A configuration without any key.
SchedulerConfig defaults_of(SchedulerConfig::Kind kind);
/// Whether the class has a key of this name that matters here.
bool has_key(SchedulerConfig::Kind kind, const std::string& key);
/// The same model under another class, as diffusers' from_config: keys that both have are taken over, the
/// rest has its default. Bad input where the model is of another family: with betas, EDM, flow matching.
SchedulerConfig as_kind(const SchedulerConfig& config, SchedulerConfig::Kind kind);

/// Errors and warnings as parse_unet_config. A file of one class opens as another with as_kind().
SchedulerConfig parse_scheduler_config(const nlohmann::json& object, const std::string& file,
                                       std::vector<std::string>& warnings);
SchedulerConfig read_scheduler_config(const std::filesystem::path& file, std::vector<std::string>& warnings);
/// The keys that config.kind has, with _class_name and _diffusers_version.
nlohmann::json to_json(const SchedulerConfig& config);

}  // namespace imago
