#include "models/evaluation/features.h"

#include <algorithm>
#include <numeric>

#include "kernels/error.h"

namespace imago {
namespace {

constexpr int64_t kBlock = 512;  // images a block

Matrix block_of(const Features& features, int64_t first) {
  std::vector<int64_t> indices(static_cast<size_t>(std::min(kBlock, features.count() - first)));
  std::iota(indices.begin(), indices.end(), first);
  return rows_of(features, indices);
}

std::vector<double> squared_lengths(const Matrix& x) {
  std::vector<double> lengths;
  for (int64_t i = 0; i < x.rows; ++i)
    lengths.push_back(std::inner_product(x.row(i), x.row(i) + x.columns, x.row(i), 0.0));
  return lengths;
}

}  // namespace

Matrix rows_of(const Features& features, const std::vector<int64_t>& indices) {
  Matrix rows(static_cast<int64_t>(indices.size()), features.dimension);
  for (int64_t i = 0; i < rows.rows; ++i) {
    const float* from = features.row(indices[static_cast<size_t>(i)]);
    std::copy(from, from + features.dimension, rows.row(i));
  }
  return rows;
}

// |x - y|^2 = |x|^2 + |y|^2 - 2 x.y
void for_each_block_of_distances(const Features& x, const Features& y,
                                 const std::function<void(int64_t i, int64_t j, const Matrix& d)>& f) {
  check(x.dimension == y.dimension, "distances between features of ", x.dimension, " and ", y.dimension,
        " dimensions");
  for (int64_t first = 0; first < x.count(); first += kBlock) {
    const Matrix a = block_of(x, first);  // [m, dimension]
    const std::vector<double> a_lengths = squared_lengths(a);
    for (int64_t other = 0; other < y.count(); other += kBlock) {
      const Matrix b = block_of(y, other);  // [n, dimension]
      const std::vector<double> b_lengths = squared_lengths(b);
      Matrix d(a.rows, b.rows);
      add_product(a, b, d);
      for (int64_t i = 0; i < a.rows; ++i)
        for (int64_t j = 0; j < b.rows; ++j) {
          const double sum = a_lengths[static_cast<size_t>(i)] + b_lengths[static_cast<size_t>(j)];
          d.at(i, j) = std::max(0.0, sum - 2 * d.at(i, j));
        }
      f(first, other, d);
    }
  }
}

}  // namespace imago
