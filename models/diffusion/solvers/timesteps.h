// Which training times a sampler visits: diffusers' timestep_spacing (Lin 2023, table 2).
#pragma once

#include <string>
#include <vector>

#include "models/diffusion/scheduler_config.h"

namespace imago {

/// From high to low, as numpy's linspace, arange and round (halves to even) make them:
///   linspace  `points` times from `last` - 1 down to 0
///   leading   multiples of last / points, rounded down, plus steps_offset
///   trailing  last - 1, and down in steps of T / steps
/// of which the first `steps` are taken.
struct TimestepSpacing {
  int steps;
  int points;    // steps, or one more: then the lowest time is left out
  int last;      // T, unless the noisiest times are left out
  bool rounded;  // linspace to whole numbers
};

/// Bad input, naming steps_offset, where the first time is beyond T - 1.
std::vector<double> spaced_times(const SchedulerConfig& config, const TimestepSpacing& spacing);

/// The whole times of DDPM and DDIM.
std::vector<int> spaced_timesteps(const SchedulerConfig& config, int steps);

}  // namespace imago
