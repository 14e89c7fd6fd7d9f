// Karras 2022: Euler's method on a model with its preconditioning, and Heun's with churn on any model.
#include <algorithm>
#include <cmath>

#include "kernels/error.h"
#include "models/diffusion/solvers/derivative.h"

namespace imago {
namespace {

/// How a model is asked at a level sigma (Karras 2022, table 1).
class Preconditioning {
 public:
  explicit Preconditioning(const SchedulerConfig& config)
      : config_(config), edm_(config.kind == SchedulerConfig::Kind::kEdmEuler), table_(config.noise) {}

  /// c_noise: ln(sigma) / 4, or the training time of that level.
  double time(double sigma) const { return edm_ ? std::log(sigma) / 4 : table_.time_of(sigma); }
  /// c_in.
  float input_scale(double sigma) const { return input_scale_at(sigma, edm_ ? config_.sigma_data : 1); }
  /// x_0 = c_skip x + c_out m.
  X0Coefficients<double> x0(double sigma) const {
    if (!edm_) return predict_x0_at(config_.prediction_type, sigma);
    const double sd = config_.sigma_data, sum = sigma * sigma + sd * sd;
    const double sign = config_.prediction_type == PredictionType::kVPrediction ? -1 : 1;
    return {sd * sd / sum, sign * sigma * sd / std::sqrt(sum)};
  }
  PlannedStep evaluate(double sigma) const {
    PlannedStep step{.time = static_cast<float>(time(sigma)), .input_scale = input_scale(sigma)};
    set_x0(step.update, x0(sigma), config_);
    return step;
  }
  /// n levels from high to low, and zero.
  std::vector<double> sigmas(int n) const {
    std::vector<double> levels;
    if (!edm_) {
      levels = karras_sigmas(table_.last(), table_.first(), n);
    } else if (config_.sigma_schedule == "exponential") {
      levels = exponential_sigmas(*config_.sigma_max, *config_.sigma_min, n);
    } else {
      levels = karras_sigmas(*config_.sigma_max, *config_.sigma_min, n, config_.rho);
    }
    levels.push_back(edm_ && config_.final_sigmas_type == "sigma_min" ? levels.back() : 0);
    for (double& sigma : levels) sigma = static_cast<float>(sigma);
    return levels;
  }

 private:
  const SchedulerConfig& config_;
  bool edm_;
  SigmaTable table_;
};

}  // namespace

SamplingPlan edm_euler_plan(const SchedulerConfig& config, int steps, const SamplerOptions& options) {
  const Preconditioning model(config);
  const std::vector<double> sigmas = model.sigmas(steps);
  SamplingPlan plan;
  plan.start_scale = std::sqrt(*config.sigma_max * *config.sigma_max + 1);
  plan.start = {1, sigmas.at(options.begin)};
  for (int i = options.begin; i < steps; ++i) {
    PlannedStep step = model.evaluate(sigmas[i]);
    set_euler(step.update, sigmas[i], sigmas[i + 1]);
    step.after = {1, sigmas[i + 1]};
    plan.steps.push_back(step);
  }
  return plan;
}

SamplingPlan edm_heun_plan(const SchedulerConfig& config, int steps, const SamplerOptions& o) {
  check_steps(config, steps, o.begin);
  const Preconditioning model(config);
  const std::vector<double> sigmas = model.sigmas(steps);
  const double most = std::min(o.s_churn / steps, std::sqrt(2.0) - 1);
  const auto churned = [&](int i) {  // sigma-hat
    const double sigma = sigmas[i];
    return sigma >= o.s_tmin && sigma <= o.s_tmax ? sigma * (1 + most) : sigma;
  };
  const auto churn = [&](int i) {  // the standard deviation of the noise between sigma and sigma-hat
    const double to = churned(i), from = sigmas[i];
    return i < steps ? o.s_noise * std::sqrt(std::max(to * to - from * from, 0.0)) : 0;
  };
  SamplingPlan plan;
  plan.start_scale = sigmas[0];
  plan.start = {1, sigmas.at(o.begin)};
  plan.start_churn = churn(o.begin);
  plan.history = 1;
  for (int i = o.begin; i < steps; ++i) {
    const double from = churned(i), to = sigmas[i + 1];
    PlannedStep first = model.evaluate(from);
    set_heun_first(first.update, from, to);
    first.after = {1, to};
    first.complete = to == 0;
    if (to == 0) {
      plan.steps.push_back(first);
      continue;
    }
    PlannedStep second = model.evaluate(to);
    set_heun_second(second.update, from, to);
    second.update.sigma = static_cast<float>(churn(i + 1));
    second.after = {1, i + 1 < steps ? churned(i + 1) : to};
    plan.steps.insert(plan.steps.end(), {first, second});
  }
  return plan;
}

}  // namespace imago
