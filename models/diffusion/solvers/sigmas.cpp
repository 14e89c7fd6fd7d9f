#include "models/diffusion/solvers/sigmas.h"

#include <algorithm>
#include <cmath>

#include "models/diffusion/solvers/timesteps.h"

namespace imago {
namespace {

// Like numpy's and torch's linspace in double, mapped.
template <class F>
std::vector<double> ramp(int n, F&& level) {
  std::vector<double> levels;
  for (int i = 0; i < n; ++i) levels.push_back(level(n > 1 ? static_cast<double>(i) / (n - 1) : 0.0));
  return levels;
}

// The continued fraction of the incomplete beta function (Press 2007, section 6.4), by Lentz's method.
double beta_fraction(double x, double a, double b) {
  constexpr double kTiny = 1e-300, kEnough = 1e-16;
  const auto nonzero = [](double v) { return std::abs(v) < kTiny ? kTiny : v; };
  double c = 1, d = 1 / nonzero(1 - (a + b) * x / (a + 1)), h = d;
  for (int m = 1; m < 1000; ++m) {
    const double even = m * (b - m) * x / ((a + 2 * m - 1) * (a + 2 * m));
    const double odd = -(a + m) * (a + b + m) * x / ((a + 2 * m) * (a + 2 * m + 1));
    double change = 1;
    for (const double term : {even, odd}) {
      d = 1 / nonzero(1 + term * d);
      c = nonzero(1 + term / c);
      h *= change = c * d;
    }
    if (std::abs(change - 1) < kEnough) break;
  }
  return h;
}

// P(X <= x) of Beta(a, a), x <= 1/2.
double beta_cdf(double x, double a) {
  if (x <= 0) return 0;
  const double front = std::exp(std::lgamma(2 * a) - 2 * std::lgamma(a) + a * std::log(x * (1 - x)));
  return front * beta_fraction(x, a, a) / a;
}

double last_sigma(const SchedulerConfig& c, double sigma_min) {
  return c.final_sigmas_type == "zero" ? 0 : sigma_min;
}

void finish(SigmaSteps& s, double last) {
  s.sigmas.push_back(last);
  for (double& sigma : s.sigmas) sigma = static_cast<float>(sigma);
}

}  // namespace

SigmaTable::SigmaTable(const NoiseScheduleConfig& config) {
  std::vector<float> alpha_bars = NoiseSchedule(config).alpha_bars();
  if (config.rescale_betas_zero_snr) alpha_bars.back() = 0x1p-24f;
  for (const float ab : alpha_bars) {
    sigmas_.push_back(std::sqrt((1 - ab) / ab));
    logs_.push_back(std::log(sigmas_.back()));
    lambdas_.push_back(std::log(std::sqrt(ab)) - std::log(std::sqrt(1 - ab)));
  }
}

double SigmaTable::at(double t) const {
  const auto low = static_cast<size_t>(t);
  if (low + 1 >= sigmas_.size()) return sigmas_.back();
  const double a = sigmas_[low], b = sigmas_[low + 1];
  return (b - a) * (t - static_cast<double>(low)) + a;
}

double SigmaTable::time_of(double sigma) const {
  if (sigmas_.size() < 2) return 0;
  const double log_sigma = std::log(std::max(sigma, 1e-10));
  const auto above = std::upper_bound(logs_.begin(), logs_.end(), log_sigma);
  const ptrdiff_t low = std::clamp<ptrdiff_t>(above - logs_.begin() - 1, 0, std::ssize(logs_) - 2);
  const double a = logs_[low], b = logs_[low + 1];
  const double w = std::clamp((a - log_sigma) / (a - b), 0.0, 1.0);
  return (1 - w) * static_cast<double>(low) + w * static_cast<double>(low + 1);
}

int SigmaTable::times_above(double lambda_min) const {
  return static_cast<int>(
      std::count_if(lambdas_.begin(), lambdas_.end(), [&](float lambda) { return lambda >= lambda_min; }));
}

std::vector<double> karras_sigmas(double from, double to, int n, double rho) {
  const double a = std::pow(from, 1 / rho), b = std::pow(to, 1 / rho);
  return ramp(n, [=](double u) { return std::pow(a + u * (b - a), rho); });
}

std::vector<double> exponential_sigmas(double from, double to, int n) {
  const double a = std::log(from), b = std::log(to);
  return ramp(n, [=](double u) { return std::exp(a + u * (b - a)); });
}

std::vector<double> beta_sigmas(double from, double to, int n) {
  return ramp(n, [=](double u) { return to + beta_quantile(1 - u, 0.6) * (from - to); });
}

std::vector<double> respaced_sigmas(const SchedulerConfig& c, double from, double to, int n) {
  if (c.use_karras_sigmas) return karras_sigmas(from, to, n);
  if (c.use_exponential_sigmas) return exponential_sigmas(from, to, n);
  if (c.use_beta_sigmas) return beta_sigmas(from, to, n);
  return {};
}

double beta_quantile(double p, double a) {
  if (p > 0.5) return 1 - beta_quantile(1 - p, a);
  double low = 0, high = 0.5;
  for (int i = 0; i < 200; ++i) {
    const double middle = (low + high) / 2;
    (beta_cdf(middle, a) < p ? low : high) = middle;
  }
  return high;
}

SigmaSteps multistep_sigmas(const SchedulerConfig& c, int steps) {
  const SigmaTable table(c.noise);
  const bool dpm = c.kind == SchedulerConfig::Kind::kDpmSolver;
  const double from = c.sigma_max.value_or(table.last()), to = c.sigma_min.value_or(table.first());
  SigmaSteps s;
  s.sigmas = respaced_sigmas(c, from, to, steps);
  if (c.use_lu_lambdas) {  // Lu 2022: even in ln sigma
    s.sigmas = exponential_sigmas(table.last(), table.first(), steps);
  }
  if (s.sigmas.empty()) {
    s.times = spaced_times(c, {steps, steps + 1, table.times_above(c.lambda_min_clipped), /*rounded=*/true});
    for (const double t : s.times) s.sigmas.push_back(table.at(t));
    finish(s, last_sigma(c, table.first()));
    return s;
  }
  // Rounded where diffusers rounds; elsewhere it cuts off what is behind the point.
  const bool even = c.use_karras_sigmas || c.use_lu_lambdas;
  const bool rounded = even && (!dpm || c.noise.beta_schedule != "squaredcos_cap_v2");
  for (const double sigma : s.sigmas) {
    const double t = table.time_of(sigma);
    s.times.push_back(rounded ? std::nearbyint(t) : std::floor(t));
  }
  finish(s, last_sigma(c, dpm ? table.first() : s.sigmas.back()));
  return s;
}

SigmaSteps continuous_sigmas(const SchedulerConfig& c, int steps) {
  const SigmaTable table(c.noise);
  SigmaSteps s;
  s.times = spaced_times(c, {steps, steps, c.noise.num_train_timesteps, /*rounded=*/false});
  for (double& t : s.times) t = static_cast<float>(t);
  for (const double t : s.times) s.sigmas.push_back(table.at(t));
  if (c.interpolation_type == "log_linear")
    s.sigmas = exponential_sigmas(table.last(), table.first(), steps + 1);
  const std::vector<double> respaced = respaced_sigmas(c, c.sigma_max.value_or(s.sigmas.front()),
                                                       c.sigma_min.value_or(s.sigmas.back()), steps);
  if (!respaced.empty()) {
    s.sigmas = respaced;
    for (int i = 0; i < steps; ++i) s.times[i] = static_cast<float>(table.time_of(s.sigmas[i]));
  }
  finish(s, last_sigma(c, table.first()));
  return s;
}

}  // namespace imago
