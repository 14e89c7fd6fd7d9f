// Euler's method (Karras 2022, algorithm 1 without its correction).
#include <cmath>

#include "models/diffusion/solvers/derivative.h"

namespace imago {

SamplingPlan euler_plan(const SchedulerConfig& config, int steps, const SamplerOptions& options) {
  const SigmaSteps s = continuous_sigmas(config, steps);
  const bool log_times =
      config.timestep_type == "continuous" && config.prediction_type == PredictionType::kVPrediction;
  SamplingPlan plan;
  plan.start_scale = start_scale(config, s.sigmas);
  plan.start = {1, s.sigmas.at(options.begin)};
  for (int i = options.begin; i < s.steps(); ++i) {
    const double from = s.sigmas[i], to = s.sigmas[i + 1];
    PlannedStep step{.time = static_cast<float>(log_times ? std::log(from) / 4 : s.times[i]),
                     .input_scale = input_scale_at(from)};
    set_x0(step.update, predict_x0_at(config.prediction_type, from), config);
    set_euler(step.update, from, to);
    step.after = {1, to};
    plan.steps.push_back(step);
  }
  return plan;
}

}  // namespace imago
