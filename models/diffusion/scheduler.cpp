#include "models/diffusion/scheduler.h"

#include <algorithm>
#include <cmath>

namespace imago {
namespace {

// The times of numpy's linspace, arange and round (halves to even), from high to low.
std::vector<int> spaced_timesteps(const SchedulerConfig& c, int steps) {
  const int T = c.noise.num_train_timesteps;
  std::vector<int> list;
  if (c.timestep_spacing == "linspace") {
    const double step = steps > 1 ? static_cast<double>(T - 1) / (steps - 1) : 0;
    for (int i = steps - 1; i >= 0; --i)
      list.push_back(i == steps - 1 && i > 0 ? T - 1 : static_cast<int>(std::nearbyint(i * step)));
  } else if (c.timestep_spacing == "leading") {
    for (int i = steps - 1; i >= 0; --i) list.push_back(i * (T / steps) + c.steps_offset);
  } else {
    const double ratio = static_cast<double>(T) / steps, delta = (T - ratio) - T;
    const int count = static_cast<int>(std::ceil(T / ratio));
    for (int i = 0; i < count; ++i) list.push_back(static_cast<int>(std::nearbyint(T + i * delta)) - 1);
    while (list.back() < 0) list.pop_back();  // where T / ratio came out a hair above a whole number
  }
  return list;
}

}  // namespace

Scheduler::Scheduler(const SchedulerConfig& config, int num_inference_steps)
    : config_(config), schedule_(config.noise), requested_(num_inference_steps) {
  const int T = schedule_.timesteps();
  if (num_inference_steps < 1 || num_inference_steps > T)
    bad_input("number of inference steps: expected 1 to ", T, " (num_train_timesteps), not ",
              num_inference_steps);
  timesteps_ = spaced_timesteps(config_, num_inference_steps);
  if (timesteps_.front() >= T)
    bad_input("steps_offset: ", config_.steps_offset, " puts the first step at t = ", timesteps_.front(),
              ", beyond the last time ", T - 1);
}

// epsilon: x_0 = (x - sqrt(1-ab) m) / sqrt(ab); sample: x_0 = m; v: x_0 = sqrt(ab) x - sqrt(1-ab) m.
SamplerStep Scheduler::predict_x0(float alpha_bar) const {
  SamplerStep s{};
  const float a = std::sqrt(alpha_bar), b = std::sqrt(1 - alpha_bar);
  switch (config_.prediction_type) {
    case PredictionType::kEpsilon: s.x0_x = 1 / a, s.x0_m = -b / a; break;
    case PredictionType::kSample: s.x0_m = 1; break;
    case PredictionType::kVPrediction: s.x0_x = a, s.x0_m = -b; break;
  }
  if (config_.clip_sample && !config_.thresholding) s.clip = static_cast<float>(config_.clip_sample_range);
  return s;
}

// ---- DDPM ----

float DdpmScheduler::variance(int i) const {
  const float ab = alpha_bar(timesteps_[i], 1), ab_previous = alpha_bar(previous(i), 1);
  const float b = 1 - ab / ab_previous;
  const float small = std::max((1 - ab_previous) / (1 - ab) * b, 1e-20f);
  if (config_.variance_type == "fixed_large") return b;
  return config_.variance_type == "fixed_small" ? small : std::exp(0.5f * std::log(small));
}

SamplerStep DdpmScheduler::step(int i) const {
  const float ab = alpha_bar(timesteps_[i], 1), ab_previous = alpha_bar(previous(i), 1);
  const float a = ab / ab_previous, b = 1 - a;
  SamplerStep s = predict_x0(ab);
  s.y_x0 = std::sqrt(ab_previous) * b / (1 - ab);
  s.y_x = std::sqrt(a) * (1 - ab_previous) / (1 - ab);
  if (timesteps_[i] > 0)
    s.sigma = config_.variance_type == "fixed_small_log" ? variance(i) : std::sqrt(variance(i));
  return s;
}

// ---- DDIM ----

SamplerStep DdimScheduler::step(int i) const {
  const int t = timesteps_[i];
  const int before = options_.follow_timesteps ? previous(i) : t - schedule_.timesteps() / requested_;
  const float ab = alpha_bar(t, 1);
  const float ab_previous = alpha_bar(before, config_.set_alpha_to_one ? 1 : schedule_.alpha_bar(0));
  const float variance = (1 - ab_previous) / (1 - ab) * (1 - ab / ab_previous);
  SamplerStep s = predict_x0(ab);
  s.sigma = static_cast<float>(options_.eta) * std::sqrt(variance);
  const float direction = std::sqrt(1 - ab_previous - s.sigma * s.sigma);  // how much of epsilon
  s.y_x0 = std::sqrt(ab_previous);
  const float root = std::sqrt(ab), noise = std::sqrt(1 - ab);
  if (options_.use_clipped_model_output) {  // epsilon = (x - sqrt(ab) x_0) / sqrt(1-ab)
    s.y_x = direction / noise;
    s.y_x0 -= direction * root / noise;
    return s;
  }
  switch (config_.prediction_type) {
    case PredictionType::kEpsilon: s.y_m = direction; break;
    case PredictionType::kSample: s.y_x = direction / noise, s.y_m = -direction * root / noise; break;
    case PredictionType::kVPrediction: s.y_x = direction * noise, s.y_m = direction * root; break;
  }
  return s;
}

std::unique_ptr<Scheduler> make_scheduler(const SchedulerConfig& config, int num_inference_steps,
                                          double eta) {
  if (config.kind == SchedulerConfig::Kind::kDdpm)
    return std::make_unique<DdpmScheduler>(config, num_inference_steps);
  if (!(eta >= 0 && eta <= 1)) bad_input("eta: expected 0 (no noise) to 1 (as much as DDPM), not ", eta);
  DdimOptions options;
  options.eta = eta;
  return std::make_unique<DdimScheduler>(config, num_inference_steps, options);
}

}  // namespace imago
