#include "kernels/error.h"
#include "models/diffusion/solvers/solvers.h"

namespace imago {

void check_steps(const SchedulerConfig& config, int steps, int begin) {
  const int all = config.noise.num_train_timesteps;
  if (steps < 1 || steps > all)
    bad_input("number of inference steps: expected 1 to ", all, " (num_train_timesteps), not ", steps);
  if (begin < 0 || begin >= steps) bad_input("first step: expected 0 to ", steps - 1, ", not ", begin);
}

std::optional<DynamicThresholding> thresholding_of(const SchedulerConfig& config) {
  if (!config.thresholding) return {};
  return DynamicThresholding{config.dynamic_thresholding_ratio, config.sample_max_value};
}

}  // namespace imago
