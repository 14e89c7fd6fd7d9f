// Ancestral sampling (Ho 2020, algorithm 2). All coefficients are float32 in diffusers' order.
#include <algorithm>
#include <cmath>

#include "models/diffusion/solvers/solvers.h"
#include "models/diffusion/solvers/timesteps.h"

namespace imago {
namespace {

bool learned(const SchedulerConfig& c) {
  return c.variance_type == "learned" || c.variance_type == "learned_range";
}

// The noise of a step between two alpha_bars (Nichol & Dhariwal 2021, equation 15, where it is learned).
void set_noise(SamplerStep& s, const SchedulerConfig& c, float ab, float ab_previous) {
  if (learned(c)) {
    s.noise = c.variance_type == "learned" ? StepNoise::kLearned : StepNoise::kLearnedRange;
    s.min_log = std::log(ddpm_variance("fixed_small", ab, ab_previous));
    s.max_log = std::log(ddpm_variance("fixed_large", ab, ab_previous));
    return;
  }
  const float variance = ddpm_variance(c.variance_type, ab, ab_previous);
  s.sigma = c.variance_type.ends_with("_log") ? variance : std::sqrt(variance);
}

}  // namespace

float ddpm_variance(const std::string& type, float ab, float ab_previous) {
  const float b = 1 - ab / ab_previous;
  const float small = std::max((1 - ab_previous) / (1 - ab) * b, 1e-20f);
  if (type == "fixed_large") return b;
  if (type == "fixed_large_log") return std::exp(0.5f * std::log(b));
  return type == "fixed_small" ? small : std::exp(0.5f * std::log(small));
}

// mean = sqrt(ab_p) b / (1 - ab_t) x_0 + sqrt(a) (1 - ab_p) / (1 - ab_t) x_t with a = ab_t / ab_p, b = 1 - a,
// and p the next time of the list; noise where t > 0 (Ho 2020, equation 7).
SamplingPlan ddpm_plan(const SchedulerConfig& config, int steps, const SamplerOptions& options) {
  const NoiseSchedule schedule(config.noise);
  const std::vector<int> times = spaced_timesteps(config, steps);
  SamplingPlan plan;
  plan.thresholding = thresholding_of(config);
  const double first = schedule.alpha_bar(times.at(options.begin));
  plan.start = {std::sqrt(first), std::sqrt(1 - first)};
  for (size_t i = options.begin; i < times.size(); ++i) {
    const float ab = schedule.alpha_bar(times[i]);
    const float ab_previous = i + 1 < times.size() ? schedule.alpha_bar(times[i + 1]) : 1;
    const float a = ab / ab_previous, b = 1 - a;
    PlannedStep step{.time = static_cast<float>(times[i])};
    SamplerStep& s = step.update;
    set_x0(s, predict_x0(config.prediction_type, std::sqrt(ab), std::sqrt(1 - ab)), config);
    s.y_x0 = std::sqrt(ab_previous) * b / (1 - ab);
    s.y_x = std::sqrt(a) * (1 - ab_previous) / (1 - ab);
    if (times[i] > 0) set_noise(s, config, ab, ab_previous);
    step.after = {std::sqrt(ab_previous), std::sqrt(1 - ab_previous)};
    plan.steps.push_back(step);
  }
  return plan;
}

}  // namespace imago
