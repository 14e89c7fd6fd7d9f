// What the solvers of dx/dsigma = (x - x_0) / sigma share (Karras 2022, equation 1): x = x_0 + sigma e.
#pragma once

#include "models/diffusion/solvers/sigmas.h"
#include "models/diffusion/solvers/solvers.h"

namespace imago {

/// x_0 of a model of x' = alpha x_0 + sigma' e that sees x' = x / sqrt(sigma^2 + 1).
inline X0Coefficients<double> predict_x0_at(PredictionType type, double sigma) {
  const VpLevel level(sigma);
  const X0Coefficients<double> x0 = predict_x0(type, level.alpha, level.sigma);
  return {x0.x * level.alpha, x0.m};
}

/// The network's input, x / sqrt(sigma^2 + sigma_data^2).
inline float input_scale_at(double sigma, double sigma_data = 1) {
  return static_cast<float>(1 / std::sqrt(sigma * sigma + sigma_data * sigma_data));
}

/// Euler: y = x + (to - from) (x - x_0) / from.
inline void set_euler(SamplerStep& update, double from, double to) {
  update.y_x = static_cast<float>(to / from);
  update.y_x0 = static_cast<float>((from - to) / from);
}

/// Heun, first evaluation: an Euler step, whose derivative (x - x_0) / from becomes the new entry.
inline void set_heun_first(SamplerStep& update, double from, double to) {
  set_euler(update, from, to);
  update.entry_x = static_cast<float>(1 / from);
  update.entry_x0 = -update.entry_x;
}

/// Heun, second evaluation, at `to`: x stands at x_s + (to - from) d, so the step with the mean of both
/// derivatives ends at x + (to - from) ((x - x_0) / to - d) / 2.
inline void set_heun_second(SamplerStep& update, double from, double to) {
  const double half = (to - from) / 2;
  update.y_x = static_cast<float>(1 + half / to);
  update.y_x0 = static_cast<float>(-half / to);
  update.y_h[0] = static_cast<float>(-half);
}

/// The scale of the first noise: the first level, or with leading spacing sqrt(sigma^2 + 1), as in diffusers.
inline double start_scale(const SchedulerConfig& config, const std::vector<double>& sigmas) {
  const double most = sigmas.front();
  return config.timestep_spacing == "leading" ? std::sqrt(most * most + 1) : most;
}

}  // namespace imago
