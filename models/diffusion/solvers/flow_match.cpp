// Flow matching (Lipman 2023; Liu 2023): x = (1 - sigma) x_0 + sigma e, and the network predicts dx/dsigma =
// e - x_0. The times that it is given are 1000 sigma (num_train_timesteps sigma).
#include "kernels/error.h"
#include "models/diffusion/solvers/sigmas.h"
#include "models/diffusion/solvers/solvers.h"

namespace imago {
namespace {

double shifted(double sigma, double shift) {  // towards noise, for large images (Esser 2024, equation 23)
  return shift * sigma / (1 + (shift - 1) * sigma);
}

/// Levels from high to low, and zero. As in diffusers, the lowest has been shifted once before the even
/// spacing and is shifted again with the others.
std::vector<double> flow_sigmas(const SchedulerConfig& c, int n) {
  const double all = c.noise.num_train_timesteps;
  const double top = static_cast<float>(shifted(1, c.shift)),
               low = static_cast<float>(shifted(1 / all, c.shift));
  std::vector<double> sigmas;
  for (int i = 0; i < n; ++i)
    sigmas.push_back(shifted(n > 1 ? top + i * (low - top) / (n - 1) : top, c.shift));
  if (c.shift_terminal) {
    const double factor = (1 - sigmas.back()) / (1 - *c.shift_terminal);
    for (double& sigma : sigmas) sigma = 1 - (1 - sigma) / factor;
  }
  if (const std::vector<double> r = respaced_sigmas(c, sigmas.front(), sigmas.back(), n); !r.empty())
    sigmas = r;
  sigmas.push_back(0);
  for (double& sigma : sigmas) sigma = static_cast<float>(sigma);
  return sigmas;
}

PlannedStep evaluate(const SchedulerConfig& c, double sigma) {
  PlannedStep step{.time = static_cast<float>(sigma * c.noise.num_train_timesteps)};
  step.update.x0_x = 1;  // x_0 = x - sigma m
  step.update.x0_m = static_cast<float>(-sigma);
  return step;
}

SamplingPlan plan_from(double sigma) {
  SamplingPlan plan;
  plan.start = {1 - sigma, sigma};
  return plan;
}

}  // namespace

SamplingPlan flow_euler_plan(const SchedulerConfig& config, int steps, const SamplerOptions& options) {
  const std::vector<double> sigmas = flow_sigmas(config, steps);
  SamplingPlan plan = plan_from(sigmas.at(options.begin));
  for (int i = options.begin; i < steps; ++i) {
    const double from = sigmas[i], to = sigmas[i + 1];
    PlannedStep step = evaluate(config, from);
    if (config.stochastic_sampling) {  // noise to the next level, afresh
      step.update.y_x0 = static_cast<float>(1 - to);
      step.update.sigma = static_cast<float>(to);
    } else {
      step.update.y_x = 1;
      step.update.y_m = static_cast<float>(to - from);
    }
    step.after = {1 - to, to};
    plan.steps.push_back(step);
  }
  return plan;
}

SamplingPlan flow_heun_plan(const SchedulerConfig& config, int steps, const SamplerOptions& options) {
  const std::vector<double> sigmas = flow_sigmas(config, steps);
  SamplingPlan plan = plan_from(sigmas.at(options.begin));
  plan.history = 1;
  for (int i = options.begin; i < steps; ++i) {
    const double from = sigmas[i], to = sigmas[i + 1];
    PlannedStep first = evaluate(config, from);
    first.update.y_x = first.update.entry_m = 1;
    first.update.y_m = static_cast<float>(to - from);
    first.after = {1 - to, to};
    first.complete = i + 1 == steps;
    plan.steps.push_back(first);
    if (first.complete) break;
    PlannedStep second = evaluate(config, to);  // from the first's end back by half of its derivative
    second.update.y_x = 1;
    second.update.y_m = static_cast<float>((to - from) / 2);
    second.update.y_h[0] = -second.update.y_m;
    second.after = first.after;
    plan.steps.push_back(second);
  }
  return plan;
}

}  // namespace imago
