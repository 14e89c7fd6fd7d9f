#include "engine/report/series.h"

#include <algorithm>

#include "kernels/error.h"

namespace imago {
namespace {

// y[i] = mean of x[max(0, i - radius) ... min(n - 1, i + radius)]
std::vector<double> box(const std::vector<double>& x, size_t radius) {
  std::vector<double> sums(x.size() + 1, 0), y(x.size());
  for (size_t i = 0; i < x.size(); ++i) sums[i + 1] = sums[i] + x[i];
  for (size_t i = 0; i < x.size(); ++i) {
    const size_t first = i - std::min(i, radius), end = std::min(i + radius + 1, x.size());
    y[i] = (sums[end] - sums[first]) / static_cast<double>(end - first);
  }
  return y;
}

}  // namespace

Series smooth(const Series& series, size_t radius) {
  std::vector<double> y;
  for (const Point& p : series) y.push_back(p.y);
  y = box(box(y, radius), radius);
  Series smoothed = series;
  for (size_t i = 0; i < y.size(); ++i) smoothed[i].y = y[i];
  return smoothed;
}

Series thin(const Series& series, size_t most) {
  check(most >= 4, "thin: at least 4 points");
  if (series.size() <= most) return series;
  const auto lower = [](const Point& a, const Point& b) { return a.y < b.y; };
  Series kept{series.front()};
  const size_t runs = (most - 2) / 2, inner = series.size() - 2;
  for (size_t run = 0; run < runs; ++run) {
    const auto first = series.begin() + 1 + static_cast<ptrdiff_t>(run * inner / runs);
    const auto end = series.begin() + 1 + static_cast<ptrdiff_t>((run + 1) * inner / runs);
    auto [low, high] = std::minmax_element(first, end, lower);
    if (low > high) std::swap(low, high);
    kept.push_back(*low);
    if (high != low) kept.push_back(*high);
  }
  kept.push_back(series.back());
  return kept;
}

Band band_of(const Series& series, size_t runs) {
  check(runs > 0 && runs <= series.size(), "band_of: ", runs, " runs of ", series.size(), " points");
  Band band;
  for (size_t run = 0; run < runs; ++run) {
    const size_t first = run * series.size() / runs, end = (run + 1) * series.size() / runs;
    std::vector<double> y;
    for (size_t i = first; i < end; ++i) y.push_back(series[i].y);
    std::sort(y.begin(), y.end());
    const double x = (series[first].x + series[end - 1].x) / 2;
    const size_t outside = y.size() / 20;
    band.low.push_back({x, y[outside]});
    band.high.push_back({x, y[y.size() - 1 - outside]});
  }
  return band;
}

Range range_of(const Series& series, double outliers) {
  check(!series.empty() && outliers >= 0 && outliers < 0.5, "range_of: no points");
  std::vector<double> y;
  for (const Point& p : series) y.push_back(p.y);
  std::sort(y.begin(), y.end());
  const auto skipped = static_cast<size_t>(outliers * static_cast<double>(y.size()));
  return {y[skipped], y[y.size() - 1 - skipped]};
}

}  // namespace imago
