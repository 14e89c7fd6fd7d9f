// The solvers, one a file, and what they share.
#pragma once

#include "kernels/error.h"
#include "models/diffusion/sampling_plan.h"

namespace imago {

// ---- One a file; make_plan() chooses among them ----
SamplingPlan ddpm_plan(const SchedulerConfig& config, int steps, const SamplerOptions& options);
SamplingPlan ddim_plan(const SchedulerConfig& config, int steps, const SamplerOptions& options);
SamplingPlan dpm_solver_plan(const SchedulerConfig& config, int steps, const SamplerOptions& options);
SamplingPlan unipc_plan(const SchedulerConfig& config, int steps, const SamplerOptions& options);
SamplingPlan euler_plan(const SchedulerConfig& config, int steps, const SamplerOptions& options);
SamplingPlan euler_ancestral_plan(const SchedulerConfig& config, int steps, const SamplerOptions& options);
SamplingPlan heun_plan(const SchedulerConfig& config, int steps, const SamplerOptions& options);
SamplingPlan edm_euler_plan(const SchedulerConfig& config, int steps, const SamplerOptions& options);
SamplingPlan flow_euler_plan(const SchedulerConfig& config, int steps, const SamplerOptions& options);
SamplingPlan flow_heun_plan(const SchedulerConfig& config, int steps, const SamplerOptions& options);

/// The variance of DDPM's noise between alpha_bar and the alpha_bar before it: fixed_small | fixed_large, or
/// their *_log, whose value is the standard deviation exp(log(variance) / 2). (diffusers' fixed_large_log
/// takes the square root of a logarithm, which is NaN.)
float ddpm_variance(const std::string& type, float alpha_bar, float alpha_bar_previous);

// ---- Shared ----

/// Bad input: steps outside 1 .. num_train_timesteps, begin outside 0 .. steps - 1.
void check_steps(const SchedulerConfig& config, int steps, int begin);

/// x_0 = x x + m m of a model that sees x = alpha x_0 + sigma e: (x - sigma m) / alpha for epsilon, m for
/// sample, alpha x - sigma m for v (Salimans & Ho 2022). T is float or double.
template <class T>
struct X0Coefficients {
  T x, m;
};
template <class T>
X0Coefficients<T> predict_x0(PredictionType type, T alpha, T sigma) {
  switch (type) {
    case PredictionType::kEpsilon: return {1 / alpha, -sigma / alpha};
    case PredictionType::kSample: return {0, 1};
    case PredictionType::kVPrediction: return {alpha, -sigma};
  }
  failure("a prediction of unknown type");
}

/// Writes x_0's coefficients and the clipping into an update.
template <class T>
void set_x0(SamplerStep& update, const X0Coefficients<T>& x0, const SchedulerConfig& config) {
  update.x0_x = static_cast<float>(x0.x);
  update.x0_m = static_cast<float>(x0.m);
  if (config.clip_sample && !config.thresholding) update.clip = static_cast<float>(config.clip_sample_range);
}

/// The plan's thresholding, where the configuration wants it.
std::optional<DynamicThresholding> thresholding_of(const SchedulerConfig& config);

}  // namespace imago
