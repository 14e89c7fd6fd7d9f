// What a curve goes through before it is drawn: smoothing, thinning, and a range that outliers do not
// stretch.
#pragma once

#include <cstddef>
#include <vector>

namespace imago {

struct Point {
  double x = 0, y = 0;
};
using Series = std::vector<Point>;  // ascending x, finite y

/// Centred moving average, applied twice (a triangular window of 4 radius + 1 points); at the ends over what
/// is there. Unlike an exponential average it does not lag behind.
Series smooth(const Series& series, size_t radius);

/// At most `most` points (at least 4) that draw the same curve: the lowest and highest of every run of
/// neighbours, and the first and last point.
Series thin(const Series& series, size_t most);

/// Where the middle of the values lies: the series in `runs` runs of neighbours, each with the value that one
/// in twenty lies below, and the one that one in twenty lies above.
struct Band {
  Series low, high;  // one point a run, at the middle of its x
};
Band band_of(const Series& series, size_t runs);

/// Lowest and highest value after leaving out the share `outliers` of the points at either end.
struct Range {
  double low, high;
};
Range range_of(const Series& series, double outliers = 0);

}  // namespace imago
