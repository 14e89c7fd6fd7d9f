#include "models/diffusion/solvers/timesteps.h"

#include <cmath>

#include "kernels/error.h"

namespace imago {
namespace {

std::vector<double> linspace_times(const TimestepSpacing& s) {
  std::vector<double> times;
  const double top = s.last - 1, step = s.points > 1 ? top / (s.points - 1) : 0;
  for (int i = s.points - 1; i >= s.points - s.steps; --i) {
    const double t = i == s.points - 1 && i > 0 ? top : i * step;
    times.push_back(s.rounded ? std::nearbyint(t) : t);
  }
  return times;
}

std::vector<double> leading_times(const TimestepSpacing& s, int offset) {
  std::vector<double> times;
  for (int i = s.points - 1; i >= s.points - s.steps; --i) times.push_back(i * (s.last / s.points) + offset);
  return times;
}

std::vector<double> trailing_times(const TimestepSpacing& s, int all) {
  const double ratio = static_cast<double>(all) / s.steps, delta = (s.last - ratio) - s.last;
  const int count = static_cast<int>(std::ceil(s.last / ratio));
  std::vector<double> times;
  for (int i = 0; i < count; ++i) times.push_back(std::nearbyint(s.last + i * delta) - 1);
  while (times.back() < 0) times.pop_back();  // where last / ratio comes out a hair above a whole number
  return times;
}

}  // namespace

std::vector<double> spaced_times(const SchedulerConfig& c, const TimestepSpacing& spacing) {
  const int all = c.noise.num_train_timesteps;
  if (c.timestep_spacing == "linspace") return linspace_times(spacing);
  if (c.timestep_spacing == "trailing") return trailing_times(spacing, all);
  const std::vector<double> times = leading_times(spacing, c.steps_offset);
  if (times.front() >= all)
    bad_input("steps_offset: ", c.steps_offset, " puts the first step at t = ", times.front(),
              ", beyond the last time ", all - 1);
  return times;
}

std::vector<int> spaced_timesteps(const SchedulerConfig& c, int steps) {
  const std::vector<double> times =
      spaced_times(c, {steps, steps, c.noise.num_train_timesteps, /*rounded=*/true});
  return {times.begin(), times.end()};
}

}  // namespace imago
