#include "models/diffusion/noise_schedule.h"

#include <algorithm>
#include <cmath>

#include "kernels/error.h"

namespace imago {
namespace {

constexpr double kPi = 3.14159265358979323846;

// n numbers from a to b in float32, as torch.linspace makes them: from both ends inwards.
std::vector<float> linspace(float a, float b, int n) {
  std::vector<float> x(static_cast<size_t>(n));
  const float step = n > 1 ? (b - a) / static_cast<float>(n - 1) : 0;
  for (int i = 0; i < n; ++i)
    x[i] = i < n / 2 || n == 1 ? a + step * static_cast<float>(i) : b - step * static_cast<float>(n - 1 - i);
  return x;
}

// beta_i = 1 - f((i+1)/T) / f(i/T), at most 0.999 (Nichol & Dhariwal 2021, equation 17).
template <class AlphaBar>
std::vector<float> betas_of(int steps, AlphaBar alpha_bar) {
  std::vector<float> betas(static_cast<size_t>(steps));
  for (int i = 0; i < steps; ++i) {
    const double now = static_cast<double>(i) / steps, next = static_cast<double>(i + 1) / steps;
    betas[i] = static_cast<float>(std::min(1 - alpha_bar(next) / alpha_bar(now), 0.999));
  }
  return betas;
}

double cosine(double u) {
  const double c = std::cos((u + 0.008) / 1.008 * kPi / 2);
  return c * c;
}

double laplace(double u) {
  const double lambda = -0.5 * std::copysign(1, 0.5 - u) * std::log(1 - 2 * std::abs(0.5 - u) + 1e-6);
  const double snr = std::exp(lambda);
  return std::sqrt(snr / (1 + snr));
}

std::vector<float> make_betas(const NoiseScheduleConfig& c) {
  const int steps = c.num_train_timesteps;
  if (c.trained_betas) return {c.trained_betas->begin(), c.trained_betas->end()};
  const auto start = static_cast<float>(c.beta_start), end = static_cast<float>(c.beta_end);
  if (c.beta_schedule == "linear") return linspace(start, end, steps);
  if (c.beta_schedule == "squaredcos_cap_v2") return betas_of(steps, cosine);
  if (c.beta_schedule == "exp") return betas_of(steps, [](double u) { return std::exp(-12 * u); });
  if (c.beta_schedule == "laplace") return betas_of(steps, laplace);
  std::vector<float> betas;
  if (c.beta_schedule == "scaled_linear") {
    betas = linspace(static_cast<float>(std::sqrt(c.beta_start)), static_cast<float>(std::sqrt(c.beta_end)),
                     steps);
    for (float& beta : betas) beta *= beta;
  } else if (c.beta_schedule == "sigmoid") {
    betas = linspace(-6, 6, steps);
    const auto range = static_cast<float>(c.beta_end - c.beta_start);
    for (float& beta : betas) {
      const float sigmoid = 1 / (1 + std::exp(-beta));
      const float scaled = sigmoid * range;
      beta = scaled + start;
    }
  } else {
    bad_input(
        "beta_schedule: \"", c.beta_schedule,
        "\" is not supported (supported: linear, scaled_linear, squaredcos_cap_v2, sigmoid, laplace, exp)");
  }
  return betas;
}

// The product is carried in double and each entry rounded: torch.cumprod on a CPU.
std::vector<float> cumulative_product(const std::vector<float>& betas) {
  std::vector<float> product;
  double running = 1;
  for (float beta : betas) {
    running *= static_cast<double>(1.0f - beta);
    product.push_back(static_cast<float>(running));
  }
  return product;
}

// Shifts and scales sqrt(alpha_bar) so that it ends at zero and starts where it did (Lin 2023, algorithm 1).
std::vector<float> rescale_zero_terminal_snr(const std::vector<float>& betas) {
  std::vector<float> root = cumulative_product(betas);
  for (float& r : root) r = std::sqrt(r);
  const float first = root.front(), last = root.back();
  for (float& r : root) {
    const float shifted = r - last;
    r = shifted * (first / (first - last));
  }
  std::vector<float> rescaled;
  float before = 1;
  for (float r : root) {
    const float alpha_bar = r * r;
    rescaled.push_back(1 - alpha_bar / before);
    before = alpha_bar;
  }
  return rescaled;
}

}  // namespace

NoiseSchedule::NoiseSchedule(const NoiseScheduleConfig& config) {
  const int steps = config.num_train_timesteps;
  if (steps < 1) bad_input("num_train_timesteps: expected at least 1, not ", steps);
  if (config.trained_betas && static_cast<int>(config.trained_betas->size()) != steps)
    bad_input("trained_betas: expected ", steps, " numbers (num_train_timesteps), not ",
              config.trained_betas->size());
  betas_ = make_betas(config);
  if (config.rescale_betas_zero_snr) {
    if (steps < 2) bad_input("rescale_betas_zero_snr: needs at least 2 timesteps");
    betas_ = rescale_zero_terminal_snr(betas_);
  }
  for (size_t t = 0; t < betas_.size(); ++t)
    if (!(betas_[t] >= 0 && betas_[t] <= 1))
      bad_input(config.trained_betas ? "trained_betas" : "beta_start, beta_end", ": beta ", betas_[t],
                " at t = ", t, " is not in [0,1]");
  if (!(betas_[0] > 0))
    bad_input("beta_start: the first beta must be more than 0: nothing divides by 1 - alpha_bar = 0");
  alpha_bars_ = cumulative_product(betas_);
}

double NoiseSchedule::snr(int t) const {
  const double ab = alpha_bar(t);
  return ab / (1 - ab);
}

}  // namespace imago
