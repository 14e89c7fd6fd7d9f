// Denoising diffusion implicit models (Song 2020), down to an image and up to its noise. All coefficients are
// float32 in diffusers' order.
#include <cmath>

#include "kernels/error.h"
#include "models/diffusion/solvers/solvers.h"
#include "models/diffusion/solvers/timesteps.h"

namespace imago {
namespace {

// y = sqrt(ab_to) x_0 + direction epsilon, epsilon by the prediction type from the level ab.
void set_direction(SamplerStep& s, const SchedulerConfig& config, float ab, float ab_to, float direction,
                   bool use_clipped) {
  const float root = std::sqrt(ab), noise = std::sqrt(1 - ab);
  s.y_x0 = std::sqrt(ab_to);
  if (use_clipped) {  // epsilon = (x - sqrt(ab) x_0) / sqrt(1-ab)
    s.y_x = direction / noise;
    s.y_x0 -= direction * root / noise;
    return;
  }
  switch (config.prediction_type) {
    case PredictionType::kEpsilon: s.y_m = direction; break;
    case PredictionType::kSample: s.y_x = direction / noise, s.y_m = -direction * root / noise; break;
    case PredictionType::kVPrediction: s.y_x = direction * noise, s.y_m = direction * root; break;
  }
}

}  // namespace

// x_p = sqrt(ab_p) x_0 + sqrt(1 - ab_p - s^2) eps + s z, s = eta sqrt((1 - ab_p) / (1 - ab_t)) sqrt(1 - ab_t
// / ab_p) (Song 2020, equations 12 and 16).
SamplingPlan ddim_plan(const SchedulerConfig& config, int steps, const SamplerOptions& options) {
  const double eta = options.eta;
  if (!(eta >= 0 && eta <= 1)) bad_input("eta: expected 0 (no noise) to 1 (as much as DDPM), not ", eta);
  const NoiseSchedule schedule(config.noise);
  const std::vector<int> times = spaced_timesteps(config, steps);
  const float ab_end = config.set_alpha_to_one ? 1 : schedule.alpha_bar(0);
  SamplingPlan plan;
  plan.thresholding = thresholding_of(config);
  const double first = schedule.alpha_bar(times.at(options.begin));
  plan.start = {std::sqrt(first), std::sqrt(1 - first)};
  for (size_t i = options.begin; i < times.size(); ++i) {
    const int next = i + 1 < times.size() ? times[i + 1] : -1;
    const int before = options.follow_timesteps ? next : times[i] - schedule.timesteps() / steps;
    const float ab = schedule.alpha_bar(times[i]);
    const float ab_previous = before < 0 ? ab_end : schedule.alpha_bar(before);
    const float variance = (1 - ab_previous) / (1 - ab) * (1 - ab / ab_previous);
    PlannedStep step{.time = static_cast<float>(times[i])};
    SamplerStep& s = step.update;
    set_x0(s, predict_x0(config.prediction_type, std::sqrt(ab), std::sqrt(1 - ab)), config);
    s.sigma = static_cast<float>(eta) * std::sqrt(variance);
    const float direction = std::sqrt(1 - ab_previous - s.sigma * s.sigma);  // how much of epsilon
    set_direction(s, config, ab, ab_previous, direction, options.use_clipped_model_output);
    step.after = {std::sqrt(ab_previous), std::sqrt(1 - ab_previous)};
    plan.steps.push_back(step);
  }
  return plan;
}

// From the level before t to that of t, with the network's answer at t (Song 2020, equation 14 upwards).
SamplingPlan ddim_inversion_plan(const SchedulerConfig& config, int steps) {
  check_steps(config, steps, 0);
  if (config.timestep_spacing == "linspace")
    bad_input("timestep_spacing: \"linspace\" is not supported by inversion (supported: leading, trailing)");
  const NoiseSchedule schedule(config.noise);
  std::vector<int> times = spaced_timesteps(config, steps);
  SamplingPlan plan;
  plan.start = {1, 0};
  for (size_t i = times.size(); i-- > 0;) {
    const int from = times[i] - schedule.timesteps() / steps;
    const float ab_start = config.set_alpha_to_one ? 1 : schedule.alpha_bar(0);
    const float ab = from < 0 ? ab_start : schedule.alpha_bar(from), ab_to = schedule.alpha_bar(times[i]);
    PlannedStep step{.time = static_cast<float>(times[i])};
    set_x0(step.update, predict_x0(config.prediction_type, std::sqrt(ab), std::sqrt(1 - ab)), config);
    set_direction(step.update, config, ab, ab_to, std::sqrt(1 - ab_to), false);
    step.after = {std::sqrt(ab_to), std::sqrt(1 - ab_to)};
    plan.steps.push_back(step);
  }
  return plan;
}

}  // namespace imago
