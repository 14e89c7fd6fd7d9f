// Axes: which stretch of numbers a chart shows, linear or logarithmic, and where its ticks stand.
#pragma once

#include <string>
#include <vector>

namespace imago {

struct Axis {
  double low = 0, high = 1;
  bool logarithmic = false;
  std::vector<double> ticks;  // within [low, high], ascending

  /// 0 at low, 1 at high; beyond them outside of [0, 1].
  double position(double value) const;
};

/// About `wanted` ticks at multiples of 1, 2 or 5 times a power of ten. low == high is widened.
Axis linear_axis(double low, double high, int wanted);
/// Ticks at powers of ten, or at 1 and 3, or at 1, 2 and 5 times them, whichever is closest to `wanted`. Both
/// ends positive.
Axis log_axis(double low, double high, int wanted);

/// As short as the tick allows: 0, 0.05, 250, 20k, 1.5M, 2e-5.
std::string format_tick(double value);

}  // namespace imago
