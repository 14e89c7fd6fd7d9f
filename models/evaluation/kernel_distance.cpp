#include "models/evaluation/kernel_distance.h"

#include <algorithm>
#include <cmath>
#include <numeric>

#include "kernels/error.h"
#include "kernels/philox.h"
#include "models/diffusion/streams.h"

namespace imago {
namespace {

// m of n numbers, by the first m steps of a shuffle; `draw` counts the draws of a run.
std::vector<int64_t> subset_of(int64_t n, int64_t m, uint64_t seed, int draw) {
  std::vector<int64_t> order(static_cast<size_t>(n));
  std::iota(order.begin(), order.end(), 0);
  const uint32_t stream = random_stream(DiffusionPurpose::kSubsets, static_cast<uint32_t>(draw));
  for (int64_t i = 0; i < m; ++i) {
    const auto step = uniform_below(static_cast<uint32_t>(n - i), seed, stream, i, 0);
    std::swap(order[static_cast<size_t>(i)], order[static_cast<size_t>(i + int64_t{step})]);
  }
  order.resize(static_cast<size_t>(m));
  return order;
}

double kernel(double product, int64_t dimension) {
  const double base = product / static_cast<double>(dimension) + 1;
  return base * base * base;
}

// The sum over all pairs, or over those of different images.
double sum_of_kernel(const Matrix& x, const Matrix& y, bool with_diagonal) {
  Matrix products(x.rows, y.rows);
  add_product(x, y, products);
  double sum = 0;
  for (int64_t i = 0; i < x.rows; ++i)
    for (int64_t j = 0; j < y.rows; ++j)
      if (with_diagonal || i != j) sum += kernel(products.at(i, j), x.columns);
  return sum;
}

}  // namespace

KernelDistance kernel_distance(const Features& x, const Features& y, const KernelDistanceOptions& options) {
  check(x.dimension == y.dimension, "kernel_distance: features of ", x.dimension, " and ", y.dimension,
        " dimensions");
  const int64_t m = std::min({x.count(), y.count(), int64_t{options.subset_size}});
  if (m < 2) bad_input("kernel distance: expected at least 2 images in each set and subset");
  const auto size = static_cast<double>(m);
  double sum = 0, squares = 0;
  for (int s = 0; s < options.subsets; ++s) {
    const Matrix a = rows_of(x, subset_of(x.count(), m, options.seed, 2 * s));      // [m,D]
    const Matrix b = rows_of(y, subset_of(y.count(), m, options.seed, 2 * s + 1));  // [m,D]
    const double within = sum_of_kernel(a, a, false) + sum_of_kernel(b, b, false);
    const double distance = within / (size * (size - 1)) - 2 * sum_of_kernel(a, b, true) / (size * size);
    sum += distance;
    squares += distance * distance;
  }
  const double mean = sum / options.subsets;
  const double variance = std::max(0.0, squares / options.subsets - mean * mean);
  return {mean, std::sqrt(variance), options.subsets, static_cast<int>(m)};
}

}  // namespace imago
