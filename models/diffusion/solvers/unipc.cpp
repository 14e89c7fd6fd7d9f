// UniPC multistep (Zhao 2023, algorithms 1 and 2), predictor and corrector in one update.
//
// A step to t from s has the form (data prediction; m are predictions of x_0, with noise prediction alpha and
// sigma change places and h its sign)
//   x_t = sigma_t/sigma_s x_s - alpha_t (e^-h - 1) m_0 - alpha_t B(h) sum_j rho_j (m_j - m_0) / r_j
// The predictor sums over earlier predictions. The corrector, once the network has been asked at t, sums over
// one more, its answer there (r = 1). Both start with the same two terms, so the corrected x_t is the
// predicted one plus alpha_t B(h) times the difference of their sums: no earlier x needs to be kept.
#include <algorithm>
#include <array>
#include <cmath>

#include "kernels/error.h"
#include "models/diffusion/solvers/sigmas.h"
#include "models/diffusion/solvers/solvers.h"

namespace imago {
namespace {

/// Solves R rho = b, R_kj = r_j^k (a Vandermonde matrix of at most 3 rows), by elimination.
std::vector<double> solve_powers(const std::vector<double>& r, std::vector<double> b) {
  const size_t n = r.size();
  std::vector<std::vector<double>> a(n, std::vector<double>(n));
  for (size_t k = 0; k < n; ++k)
    for (size_t j = 0; j < n; ++j) a[k][j] = std::pow(r[j], static_cast<double>(k));
  for (size_t i = 0; i < n; ++i) {
    size_t pivot = i;
    for (size_t k = i + 1; k < n; ++k)
      if (std::abs(a[k][i]) > std::abs(a[pivot][i])) pivot = k;
    std::swap(a[i], a[pivot]);
    std::swap(b[i], b[pivot]);
    for (size_t k = 0; k < n; ++k) {
      if (k == i) continue;
      const double factor = a[k][i] / a[i][i];
      for (size_t j = i; j < n; ++j) a[k][j] -= factor * a[i][j];
      b[k] -= factor * b[i];
    }
  }
  for (size_t i = 0; i < n; ++i) b[i] /= a[i][i];
  return b;
}

/// What multiplies predictions in a step's last sum, before -alpha_t: the newest first, beginning with the
/// answer at t itself, which a predictor does not have.
using Weights = std::array<double, 4>;

/// One step from level s to s + 1, of a given order.
struct Step {
  const SchedulerConfig& config;
  const std::vector<VpLevel>& levels;
  int s, order;

  double hh() const {  // -h for data, h for noise prediction
    const double h = levels[s + 1].lambda - levels[s].lambda;
    return config.predict_x0 ? -h : h;
  }
  double scale() const {  // alpha_t B(h)
    const VpLevel& to = levels[s + 1];
    return (config.predict_x0 ? to.alpha : to.sigma) *
           (config.solver_type == "bh1" ? hh() : std::expm1(hh()));
  }
  double ratio(int j) const {  // r_j
    return (levels[s - j].lambda - levels[s].lambda) / (levels[s + 1].lambda - levels[s].lambda);
  }
  std::vector<double> right_side(int rows) const {  // b_k = k! h phi_(k+1)(h) / B(h)
    const double h = hh(), B = config.solver_type == "bh1" ? h : std::expm1(h);
    std::vector<double> b;
    double phi = std::expm1(h) / h - 1, factorial = 1;
    for (int k = 1; k <= rows; ++k) {
      b.push_back(phi * factorial / B);
      factorial *= k + 1;
      phi = phi / h - 1 / factorial;
    }
    return b;
  }
  Weights sum_of(const std::vector<double>& rho, const std::vector<double>& r) const {
    Weights w{};
    for (size_t j = 0; j < r.size(); ++j) {  // r_j belongs to prediction j + 1 before s, the last r = 1 to t
      const bool at_t = j + 1 == static_cast<size_t>(order);
      w[at_t ? 0 : j + 2] += rho[j] / r[j];
      w[1] -= rho[j] / r[j];
    }
    return w;
  }
  Weights predictor() const {
    std::vector<double> r;
    for (int j = 1; j < order; ++j) r.push_back(ratio(j));
    if (order == 1) return {};
    return sum_of(order == 2 ? std::vector<double>{0.5} : solve_powers(r, right_side(order - 1)), r);
  }
  Weights corrector() const {
    std::vector<double> r;
    for (int j = 1; j < order; ++j) r.push_back(ratio(j));
    r.push_back(1);
    return sum_of(order == 1 ? std::vector<double>{0.5} : solve_powers(r, right_side(order)), r);
  }
};

/// y = of_x x + the weighted predictions, the newest of which becomes the new entry.
PlannedStep make_step(const SchedulerConfig& c, double time, const VpLevel& from, const VpLevel& to,
                      double of_x, const Weights& weights) {
  PlannedStep step{.time = static_cast<float>(time)};
  SamplerStep& u = step.update;
  const X0Coefficients<double> x0 = predict_x0(c.prediction_type, from.alpha, from.sigma);
  double entry_x = 0, entry_m = 0, entry_x0 = 1;
  if (c.predict_x0) {
    set_x0(u, x0, c);
  } else {  // epsilon = (x - alpha x_0) / sigma
    entry_x = (1 - from.alpha * x0.x) / from.sigma, entry_m = -from.alpha * x0.m / from.sigma, entry_x0 = 0;
  }
  u.y_x = static_cast<float>(of_x + weights[0] * entry_x);
  u.y_m = static_cast<float>(weights[0] * entry_m);
  u.y_x0 = static_cast<float>(weights[0] * entry_x0);
  for (int j = 0; j < SamplerStep::kHistory; ++j) u.y_h[j] = static_cast<float>(weights[j + 1]);
  u.entry_x = static_cast<float>(entry_x);
  u.entry_m = static_cast<float>(entry_m);
  u.entry_x0 = static_cast<float>(entry_x0);
  step.after = {to.alpha, to.sigma};
  return step;
}

void check_final(const SchedulerConfig& c) {
  if (c.final_sigmas_type != "zero") return;
  if (!c.predict_x0)
    bad_input("predict_x0: false needs final_sigmas_type \"sigma_min\": no noise is left at zero");
  if (!c.lower_order_final && c.solver_order > 1)
    bad_input("lower_order_final: false needs final_sigmas_type \"sigma_min\": a step to zero is of order 1");
}

}  // namespace

SamplingPlan unipc_plan(const SchedulerConfig& config, int steps, const SamplerOptions& options) {
  check_final(config);
  const SigmaSteps s = multistep_sigmas(config, steps);
  const std::vector<VpLevel> levels(s.sigmas.begin(), s.sigmas.end());
  const int n = s.steps(), begin = options.begin;
  const auto step_of = [&](int i) {
    const int most = config.lower_order_final ? std::min(config.solver_order, n - i) : config.solver_order;
    return Step{config, levels, i, std::min(most, i - begin + 1)};
  };
  SamplingPlan plan;
  if (config.predict_x0) plan.thresholding = thresholding_of(config);
  plan.history = config.solver_order;
  plan.start = {levels.at(begin).alpha, levels[begin].sigma};
  for (int i = begin; i < n; ++i) {
    const VpLevel &from = levels[i], &to = levels[i + 1];
    const auto& disabled = config.disable_corrector;
    const bool corrects = i > begin && std::find(disabled.begin(), disabled.end(), i - 1) == disabled.end();
    Weights corrected{};  // of the network's answer now and of the three before, in the corrected x
    if (corrects) {
      const Step last = step_of(i - 1);
      const Weights p = last.predictor(), c = last.corrector();
      for (int j = 0; j < 4; ++j) corrected[j] = last.scale() * (p[j] - c[j]);
    }
    const Step next = step_of(i);
    const double of_x = config.predict_x0 ? to.sigma / from.sigma : to.alpha / from.alpha;
    Weights total{};
    for (int j = 0; j < 4; ++j) total[j] = of_x * corrected[j];
    total[0] -= (config.predict_x0 ? to.alpha : to.sigma) * std::expm1(next.hh());
    if (next.order > 1) {
      const Weights p = next.predictor();
      for (int j = 1; j < 4; ++j) total[j - 1] -= next.scale() * p[j];
    }
    plan.steps.push_back(make_step(config, s.times[i], from, to, of_x, total));
  }
  return plan;
}

}  // namespace imago
