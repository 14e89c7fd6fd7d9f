// Rows of the op table: avg_pool, avg_pool_backward, max_pool.
#include <algorithm>

#include "tests/kernels/op_table/op_table.h"

namespace imago::test {

namespace {

struct Pooling {
  Shape image;  // [N,H,W,C]
  PoolWindow window;

  Shape pooled() const {
    const Conv2dGeometry& g = window.geometry;
    return {image[0], g.out_height(image[1], window.rows), g.out_width(image[2], window.columns), image[3]};
  }
  std::string name() const {
    const Conv2dGeometry& g = window.geometry;
    return image.to_string() + str(", ", window.rows, "x", window.columns, " /", g.stride, " pad ", g.top,
                                   " ", g.left, " ", g.bottom, " ", g.right);
  }
  bool small() const { return image.numel() * window.rows * window.columns <= 50000; }
  /// Pixels of the smallest window, at a corner of the image.
  double fewest() const {
    const Conv2dGeometry& g = window.geometry;
    return std::max(1, window.rows - std::max(g.top, g.bottom)) *
           std::max(1, window.columns - std::max(g.left, g.right));
  }
  /// The most windows that hold one pixel.
  double windows_of_pixel() const {
    const int s = window.geometry.stride;
    return ((window.rows + s - 1) / s) * ((window.columns + s - 1) / s);
  }
};

// Those of Inception-v3; the whole image; a pixel; a window for each image's row; strides that leave pixels
// out, padding on each side alone, channels that come in no eights.
const std::vector<Pooling> kPoolings = {{{2, 6, 6, 32}, {3, 3, {1, 1, 1, 1, 1}}},
                                        {{2, 9, 7, 16}, {3, 3, {2, 0, 0, 0, 0}}},
                                        {{3, 8, 8, 24}, {8, 8, {}}},
                                        {{1, 1, 1, 1}, {1, 1, {}}},
                                        {{2, 7, 5, 13}, {7, 5, {}}},
                                        {{2, 5, 7, 3}, {2, 3, {2, 1, 0, 0, 2}}},
                                        {{1, 8, 8, 5}, {1, 2, {3, 0, 1, 0, 0}}},
                                        {{1, 5, 4, 8}, {3, 4, {1, 0, 3, 2, 0}}},
                                        {{1, 4, 65, 72}, {2, 2, {2, 0, 0, 0, 1}}}};

void run_avg_pool(Bench& b, const Pooling& p) {
  const double pixels = p.window.rows * p.window.columns;
  const Tolerance tolerance = 1 / p.fewest() * sum_of(pixels) + factors(4);
  b.backend().avg_pool(b.input("x", p.image), p.window, b.output("y", p.pooled(), tolerance));
}

OpRow avg_pool_row() {
  OpRow row{.op = "avg_pool"};
  for (const Pooling& p : kPoolings)
    row.cases.push_back({.name = p.name(), .run = [=](Bench& b) { run_avg_pool(b, p); }, .small = p.small()});
  return row;
}

// The share of each window is rounded four times at most (a reciprocal, which may be off by two units in the
// last place, and a product), then they are added.
OpRow avg_pool_backward_row() {
  OpRow row{.op = "avg_pool_backward"};
  for (const Pooling& p : kPoolings) {
    const auto run = [=](Bench& b) {
      const double terms = p.windows_of_pixel();
      const Tolerance tolerance = 1 / p.fewest() * (sum_of(terms) + roundings(4 * terms, kLargest));
      b.backend().avg_pool_backward(b.input("dy", p.pooled()), p.window, b.output("dx", p.image, tolerance));
    };
    row.cases.push_back(
        {.name = p.name(), .run = run, .small = p.small(), .forward = [=](Bench& b) { run_avg_pool(b, p); }});
  }
  return row;
}

OpRow max_pool_row() {
  OpRow row{.op = "max_pool"};
  for (const Pooling& p : kPoolings) {
    const auto run = [=](Bench& b) {
      b.backend().max_pool(b.input("x", p.image), p.window, b.output("y", p.pooled(), exact()));
    };
    row.cases.push_back({.name = p.name(), .run = run, .small = p.small()});
  }
  return row;
}

}  // namespace

std::vector<OpRow> pooling_rows() {
  return {avg_pool_row(), avg_pool_backward_row(), max_pool_row()};
}

}  // namespace imago::test
