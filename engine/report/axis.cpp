#include "engine/report/axis.h"

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <initializer_list>
#include <string_view>

#include "kernels/error.h"

namespace imago {
namespace {

// Few digits, without an exponent or trailing zeros.
std::string plain(double value) {
  char text[40];
  std::snprintf(text, sizeof text, "%.4g", value);
  return text;
}

// multiples * 10^e within [low, high], ascending
std::vector<double> log_ticks(double low, double high, std::initializer_list<int> multiples) {
  std::vector<double> ticks;
  const int first = static_cast<int>(std::floor(std::log10(low))),
            last = static_cast<int>(std::log10(high)) + 1;
  for (int e = first; e <= last; ++e)
    for (const int m : multiples) {
      // Through text: 3 * 10^-3 as the nearest double of "3e-3", so that a tick equals the number it shows.
      const double tick = std::strtod((std::to_string(m) + "e" + std::to_string(e)).c_str(), nullptr);
      if (tick >= low && tick <= high) ticks.push_back(tick);
    }
  return ticks;
}

}  // namespace

double Axis::position(double value) const {
  if (!logarithmic) return (value - low) / (high - low);
  if (value <= 0) return -1;
  return std::log(value / low) / std::log(high / low);
}

Axis linear_axis(double low, double high, int wanted) {
  check(std::isfinite(low) && std::isfinite(high) && wanted > 0, "axis: no range");
  if (high <= low) {
    const double room = low != 0 ? std::abs(low) / 2 : 1;
    low -= room;
    high += room;
  }
  const double rough = (high - low) / wanted;
  const double power = std::pow(10, std::floor(std::log10(rough)));
  double step = power;
  for (const double m : {2, 5, 10})
    if (step < rough * 0.8) step = m * power;
  Axis axis{low, high, false, {}};
  // A hair of tolerance: an end that is a tick itself must not fall out by rounding.
  for (double i = std::ceil(low / step - 1e-9); i * step <= high + 1e-9 * step; ++i)
    axis.ticks.push_back(i == 0 ? 0 : i * step);
  return axis;
}

Axis log_axis(double low, double high, int wanted) {
  check(low > 0 && std::isfinite(high) && wanted > 0, "axis: no range for logarithms");
  if (high <= low) low /= 2, high = low * 4;
  Axis axis{low, high, true, {}};
  for (const auto& multiples : {std::initializer_list<int>{1}, {1, 3}, {1, 2, 5}}) {
    const std::vector<double> ticks = log_ticks(low, high, multiples);
    const auto miss = [&](size_t n) { return std::abs(static_cast<int>(n) - wanted); };
    if (axis.ticks.empty() || miss(ticks.size()) < miss(axis.ticks.size())) axis.ticks = ticks;
  }
  if (axis.ticks.size() < 2) axis.ticks = linear_axis(low, high, wanted).ticks;  // less than a factor of five
  std::erase_if(axis.ticks, [&](double tick) { return tick < low || tick > high; });
  return axis;
}

std::string format_tick(double value) {
  const double size = std::abs(value);
  if (size == 0) return "0";
  if (size >= 999999.5) return plain(value / 1e6) + "M";
  if (size >= 9999.5) return plain(value / 1e3) + "k";
  if (size >= 0.001) return plain(value);
  char text[40];
  std::snprintf(text, sizeof text, "%.3g", value / std::pow(10, std::floor(std::log10(size) + 1e-9)));
  return std::string(text) + "e" + std::to_string(static_cast<int>(std::floor(std::log10(size) + 1e-9)));
}

}  // namespace imago
