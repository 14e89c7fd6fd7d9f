// Rows of the op table: upsample2x, sum_pool2x. Each is the gradient of the other.
#include "tests/kernels/op_table/op_table.h"

namespace imago::test {

namespace {

struct Resample {
  int64_t n, h, w, c;  // of the smaller side
  float scale;

  Shape low() const { return {n, h, w, c}; }
  Shape high() const { return {n, 2 * h, 2 * w, c}; }
  std::string name() const { return low().to_string() + str(" scale ", scale); }
};

const std::vector<Resample> kResamples = {{2, 4, 4, 32, 1}, {1, 1, 1, 1, 0.25f},   {3, 5, 7, 3, 0.25f},
                                          {2, 3, 2, 13, 1}, {1, 16, 16, 40, 0.3f}, {1, 2, 65, 8, 0.25f}};

// One product.
OpRow upsample2x_row() {
  OpRow row{.op = "upsample2x"};
  for (const Resample& z : kResamples) {
    const auto run = [=](Bench& b) {
      b.backend().upsample2x(b.input("dy", z.low()), z.scale, b.output("dx", z.high(), factors(1)));
    };
    const auto forward = [=](Bench& b) {
      b.backend().sum_pool2x(b.input("x", z.high()), z.scale, b.output("y", z.low()));
    };
    row.cases.push_back({.name = z.name(), .run = run, .small = z.low().numel() <= 1000, .forward = forward});
  }
  return row;
}

// Three additions, one product.
OpRow sum_pool2x_row() {
  OpRow row{.op = "sum_pool2x"};
  for (const Resample& z : kResamples) {
    const auto run = [=](Bench& b) {
      const Tolerance tolerance = z.scale * roundings(4, 2 * kLargest);
      b.backend().sum_pool2x(b.input("dy", z.high()), z.scale, b.output("dx", z.low(), tolerance));
    };
    const auto forward = [=](Bench& b) {
      b.backend().upsample2x(b.input("x", z.low()), z.scale, b.output("y", z.high()));
    };
    row.cases.push_back({.name = z.name(), .run = run, .small = z.low().numel() <= 1000, .forward = forward});
  }
  return row;
}

}  // namespace

std::vector<OpRow> resample_rows() {
  return {upsample2x_row(), sum_pool2x_row()};
}

}  // namespace imago::test
