#pragma once

#include <algorithm>
#include <vector>

namespace imago {

/// Of an even number of values, the mean of the two in the middle.
inline double median(std::vector<double> values) {
  std::sort(values.begin(), values.end());
  const size_t n = values.size();
  return (values[(n - 1) / 2] + values[n / 2]) / 2;
}

}  // namespace imago
