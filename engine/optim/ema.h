// How fast the exponential moving average of the weights follows them.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstdint>

namespace imago {

/// decay(n) after n updates, as diffusers' EMAModel: s = n - update_after - 1; 0 where s <= 0; with warm-up
/// 1 - (1 + s / inv_gamma)^-power, else (1 + s) / (10 + s); then clamped to [min_decay, max_decay].
struct EmaSchedule {
  double max_decay = 0.9999, min_decay = 0, inv_gamma = 1, power = 0.75;
  bool warmup = true;
  int64_t update_after = 0;

  double decay(int64_t updates) const {
    const auto s = static_cast<double>(updates - update_after - 1);
    if (s <= 0) return 0;
    const double raw = warmup ? 1 - std::pow(1 + s / inv_gamma, -power) : (1 + s) / (10 + s);
    return std::clamp(raw, min_decay, max_decay);
  }
};

}  // namespace imago
