// DPM-Solver++ multistep, orders 1 to 3, as an ODE and as an SDE (Lu 2022b, algorithm 2 and appendix B).
//
// In lambda = ln(alpha / sigma), with h = lambda_t - lambda_s:
//   ODE  x_t = sigma_t/sigma_s x_s + alpha_t sum_k phi_k D_k
//   SDE  x_t = sigma_t/sigma_s e^-h x_s + alpha_t sum_k phi_k D_k + sigma_t sqrt(1 - e^-2h) z
// D_0 is the newest x_0, D_1 and D_2 are the divided differences of the last two and three; phi_0 = 1 - e^-H,
// and phi_1, phi_2 the coefficients that solver_type gives, all of H = h (ODE) or 2h (SDE).
#include <algorithm>
#include <array>
#include <cmath>

#include "kernels/error.h"
#include "models/diffusion/solvers/sigmas.h"
#include "models/diffusion/solvers/solvers.h"

namespace imago {
namespace {

/// The order of step i of n, `done` steps having gone before. The last steps take lower ones (Lu 2022b,
/// section 4.3, where they are few), and one to sigma = 0 can only be of the first.
int order_of(const SchedulerConfig& c, int i, int n, int done) {
  const bool few = c.lower_order_final && n < 15;
  if (i == n - 1 && (c.euler_at_final || few || c.final_sigmas_type == "zero")) return 1;
  const int order = std::min(c.solver_order, done + 1);
  return i == n - 2 && few ? std::min(order, 2) : order;
}

/// The coefficients of D_0, D_1, D_2 before alpha_t.
std::array<double, 3> phis(const SchedulerConfig& c, double h, int order) {
  const bool sde = c.algorithm_type == "sde-dpmsolver++";
  const double H = sde ? 2 * h : h, e = std::exp(-H);
  std::array<double, 3> phi{1 - e, 0, 0};
  if (order == 2 && c.solver_type == "midpoint") phi[1] = (1 - e) / 2;
  if (order == 3 || (order == 2 && c.solver_type == "heun"))
    phi[1] = sde ? (1 - e) / -H + 1 : (e - 1) / H + 1;
  if (order == 3) phi[2] = sde ? (1 - e - H) / (H * H) - 0.5 : -((e - 1 + H) / (H * H) - 0.5);
  return phi;
}

/// What multiplies the newest x_0 and the two before it, from the coefficients of D_0, D_1, D_2.
std::array<double, 3> of_x0(const std::array<double, 3>& phi, int order, double h, double h_0, double h_1) {
  if (order == 1) return {phi[0], 0, 0};
  const double r0 = h_0 / h;
  if (order == 2) return {phi[0] + phi[1] / r0, -phi[1] / r0, 0};
  // D_1 = D_1,0 + r0/(r0+r1) (D_1,0 - D_1,1), D_2 = (D_1,0 - D_1,1) / (r0+r1), D_1,j = (m_j - m_j+1) / r_j.
  const double r1 = h_1 / h, sum = r0 + r1;
  const double first = phi[1] * (1 + r0 / sum) + phi[2] / sum, second = -(phi[1] * r0 + phi[2]) / sum;
  return {phi[0] + first / r0, -first / r0 + second / r1, -second / r1};
}

}  // namespace

SamplingPlan dpm_solver_plan(const SchedulerConfig& config, int steps, const SamplerOptions& options) {
  const SigmaSteps s = multistep_sigmas(config, steps);
  const bool sde = config.algorithm_type == "sde-dpmsolver++";
  std::vector<VpLevel> levels(s.sigmas.begin(), s.sigmas.end());
  SamplingPlan plan;
  plan.thresholding = thresholding_of(config);
  plan.history = config.solver_order - 1;
  const int n = s.steps();
  plan.start = {levels.at(options.begin).alpha, levels[options.begin].sigma};
  const auto h = [&](int i) { return levels[i + 1].lambda - levels[i].lambda; };  // of step i
  for (int i = options.begin; i < n; ++i) {
    const VpLevel &from = levels[i], &to = levels[i + 1];
    const int order = order_of(config, i, n, i - options.begin);
    const std::array<double, 3> m =
        of_x0(phis(config, h(i), order), order, h(i), order > 1 ? h(i - 1) : 0, order > 2 ? h(i - 2) : 0);
    PlannedStep step{.time = static_cast<float>(s.times[i])};
    SamplerStep& u = step.update;
    set_x0(u, predict_x0(config.prediction_type, from.alpha, from.sigma), config);
    u.y_x = static_cast<float>(to.sigma / from.sigma * (sde ? std::exp(-h(i)) : 1));
    u.y_x0 = static_cast<float>(to.alpha * m[0]);
    u.y_h[0] = static_cast<float>(to.alpha * m[1]);
    u.y_h[1] = static_cast<float>(to.alpha * m[2]);
    if (sde) u.sigma = static_cast<float>(to.sigma * std::sqrt(1 - std::exp(-2 * h(i))));
    u.entry_x0 = 1;
    step.after = {to.alpha, to.sigma};
    plan.steps.push_back(step);
  }
  return plan;
}

}  // namespace imago
