// Heun's method (Karras 2022, algorithm 1): two evaluations a step, one in the last, which ends at sigma = 0.
#include "models/diffusion/solvers/derivative.h"

namespace imago {

SamplingPlan heun_plan(const SchedulerConfig& config, int steps, const SamplerOptions& options) {
  const SigmaSteps s = continuous_sigmas(config, steps);
  SamplingPlan plan;
  plan.start_scale = start_scale(config, s.sigmas);
  plan.start = {1, s.sigmas.at(options.begin)};
  plan.history = 1;
  const auto evaluate = [&](int i) {  // the network at level i
    PlannedStep step{.time = static_cast<float>(s.times[i]), .input_scale = input_scale_at(s.sigmas[i])};
    set_x0(step.update, predict_x0_at(config.prediction_type, s.sigmas[i]), config);
    return step;
  };
  for (int i = options.begin; i < s.steps(); ++i) {
    const double from = s.sigmas[i], to = s.sigmas[i + 1];
    PlannedStep first = evaluate(i);
    set_heun_first(first.update, from, to);
    first.after = {1, to};
    first.complete = i + 1 == s.steps();
    plan.steps.push_back(first);
    if (first.complete) break;
    PlannedStep second = evaluate(i + 1);
    set_heun_second(second.update, from, to);
    second.after = {1, to};
    plan.steps.push_back(second);
  }
  return plan;
}

}  // namespace imago
