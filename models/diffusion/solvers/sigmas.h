// Noise levels sigma of the solvers that see x = x_0 + sigma e (Karras 2022), and what they have to do with
// training times.
#pragma once

#include <cmath>
#include <vector>

#include "models/diffusion/scheduler_config.h"

namespace imago {

/// sigma_t = sqrt((1 - alpha_bar_t) / alpha_bar_t) of every training time, float32 as in diffusers. With
/// rescaled betas the last alpha_bar is 2^-24 instead of 0, so that its sigma is finite.
class SigmaTable {
 public:
  explicit SigmaTable(const NoiseScheduleConfig& config);

  double first() const { return sigmas_.front(); }  // the smallest
  double last() const { return sigmas_.back(); }
  /// Between whole times linear in t.
  double at(double t) const;
  /// The time of a level, linear in log sigma between whole times; levels outside get the first or last time.
  double time_of(double sigma) const;
  /// How many times have ln(alpha / sigma) >= lambda_min.
  int times_above(double lambda_min) const;

 private:
  std::vector<float> sigmas_, logs_, lambdas_;
};

/// A level sigma / alpha as alpha, sigma with alpha^2 + sigma^2 = 1, and lambda = ln(alpha / sigma), in which
/// DPM-Solver++ and UniPC step. At zero lambda is infinite.
struct VpLevel {
  double alpha, sigma, lambda;
  explicit VpLevel(double ratio)
      : alpha(1 / std::sqrt(ratio * ratio + 1)),
        sigma(ratio * alpha),
        lambda(std::log(alpha) - std::log(sigma)) {}
};

/// n levels from `from` down to `to`:
std::vector<double> karras_sigmas(double from, double to, int n, double rho = 7);  // Karras 2022, equation 5
std::vector<double> exponential_sigmas(double from, double to, int n);             // even in log sigma
std::vector<double> beta_sigmas(double from, double to, int n);  // quantiles of Beta(0.6, 0.6) (Lee 2024)

/// The levels that use_karras_sigmas, use_exponential_sigmas or use_beta_sigmas asks for, or nothing.
std::vector<double> respaced_sigmas(const SchedulerConfig& config, double from, double to, int n);

/// The quantile of the symmetric Beta(a, a) distribution, 0 < a, 0 <= p <= 1, to double precision.
double beta_quantile(double p, double a);

/// A step's times and levels: the network is asked at times[i], x goes from sigmas[i] to sigmas[i + 1].
/// sigmas are rounded to float32, as in diffusers, and end with the level of final_sigmas_type.
struct SigmaSteps {
  std::vector<double> times, sigmas;
  int steps() const { return static_cast<int>(times.size()); }
};

/// Those of DPM-Solver++ and UniPC (n + 1 points, the lowest left out; whole times), of EulerDiscrete and its
/// relatives (n points; times may lie between whole ones).
SigmaSteps multistep_sigmas(const SchedulerConfig& config, int steps);
SigmaSteps continuous_sigmas(const SchedulerConfig& config, int steps);

}  // namespace imago
