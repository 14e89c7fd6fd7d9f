// The features of a set of images, as a feature network gives them.
#pragma once

#include <cstdint>
#include <functional>
#include <vector>

#include "models/evaluation/matrix.h"

namespace imago {

/// [count, dimension], image by image.
struct Features {
  int64_t dimension = 0;
  std::vector<float> values = {};

  int64_t count() const { return dimension == 0 ? 0 : static_cast<int64_t>(values.size()) / dimension; }
  const float* row(int64_t i) const { return values.data() + i * dimension; }
};

/// Rows `indices` in float64: [n, dimension].
Matrix rows_of(const Features& features, const std::vector<int64_t>& indices);

/// f(i, j, d) with d [m,n] = |x_(i+..) - y_(j+..)|^2 of one block of x and one of y after the other: all
/// pairs, without room for all of them. Each block of x meets those of y in their order.
void for_each_block_of_distances(const Features& x, const Features& y,
                                 const std::function<void(int64_t i, int64_t j, const Matrix& d)>& f);

}  // namespace imago
