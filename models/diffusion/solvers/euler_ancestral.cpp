// Euler's method down to sigma_down, and noise up to the next level again.
#include <cmath>

#include "models/diffusion/solvers/derivative.h"

namespace imago {

// sigma_up^2 = sigma_to^2 (sigma_from^2 - sigma_to^2) / sigma_from^2, sigma_down^2 = sigma_to^2 - sigma_up^2:
// as much noise as DDPM's posterior adds (Ho 2020, equation 7, for x = x_0 + sigma e).
SamplingPlan euler_ancestral_plan(const SchedulerConfig& config, int steps, const SamplerOptions& options) {
  const SigmaSteps s = continuous_sigmas(config, steps);
  SamplingPlan plan;
  plan.start_scale = start_scale(config, s.sigmas);
  plan.start = {1, s.sigmas.at(options.begin)};
  for (int i = options.begin; i < s.steps(); ++i) {
    const double from = s.sigmas[i], to = s.sigmas[i + 1];
    const double up = to * std::sqrt(from * from - to * to) / from, down = to * to / from;
    PlannedStep step{.time = static_cast<float>(s.times[i]), .input_scale = input_scale_at(from)};
    set_x0(step.update, predict_x0_at(config.prediction_type, from), config);
    set_euler(step.update, from, down);
    step.update.sigma = static_cast<float>(up);
    step.after = {1, to};
    plan.steps.push_back(step);
  }
  return plan;
}

}  // namespace imago
