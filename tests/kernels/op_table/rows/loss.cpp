// Rows of the op table: cross_entropy, cross_entropy_backward.
#include <cmath>

#include "tests/kernels/op_table/op_table.h"

namespace imago::test {

namespace {

struct Logits {
  int64_t rows, classes;
  double size = 1;  // of a logit: large ones overflow exp() where the largest is not taken out first
  std::string name() const { return str(rows, " rows, ", classes, " classes, logits of ", size); }
  bool small() const { return rows * classes <= 5000; }
};
// Fewer classes than lanes of a warp, as many, more; one class; more rows than warps of a block.
const std::vector<Logits> kLogits = {{16, 10},      {1, 1},    {5, 32},  {7, 33, 40},
                                     {130, 3, 200}, {3, 1000}, {64, 257}};

TensorRef logits(Bench& b, const Logits& z) {
  return b.input("x", {z.rows, z.classes}, [=](int64_t, double value) { return z.size * value; });
}

TensorRef labels(Bench& b, const Logits& z) {
  const Draw draw = [=](int64_t i, double value) {
    return static_cast<double>((i + static_cast<int64_t>(100 * std::abs(value))) % z.classes);
  };
  return b.input("label", {z.rows}, Bench::always(DType::kInt32), draw);
}

/// The error of lse = m + log sum exp(x - m), in absolute terms: a sum of K positive terms of at most 1 is at
/// least 1, so a rounding of one of its partial sums counts at most once; exp and the rounding of x - m (up
/// to 2 kLargest sizes), log, and the sum with m.
Tolerance of_lse(const Logits& z) {
  const double longest = std::ceil(static_cast<double>(z.classes) / 32) + 5;  // additions one after the other
  return roundings(2 * std::min<double>(static_cast<double>(z.classes), 32 * longest) + 4) +
         roundings(3, 2 * kLargest * z.size);
}

void run_cross_entropy(Bench& b, const Logits& z) {
  const TensorRef x = logits(b, z), label = labels(b, z);
  b.backend().cross_entropy(x, label, b.output("loss", {z.rows}, b.vectors(), of_lse(z)));
}

OpRow cross_entropy_row() {
  OpRow row{.op = "cross_entropy"};
  for (const Logits& z : kLogits) {
    row.cases.push_back(
        {.name = z.name(), .run = [=](Bench& b) { run_cross_entropy(b, z); }, .small = z.small()});
  }
  return row;
}

// A probability is off by as much, relative to itself, as lse and x - lse are in absolute terms.
OpRow cross_entropy_backward_row() {
  OpRow row{.op = "cross_entropy_backward"};
  for (const Logits& z : kLogits) {
    const auto run = [=](Bench& b) {
      const TensorRef dloss = b.input("dloss", {z.rows}, b.vectors()), x = logits(b, z), label = labels(b, z);
      const Tolerance tolerance = kLargest * (of_lse(z) + roundings(4) + roundings(1, 2 * kLargest * z.size));
      b.backend().cross_entropy_backward(dloss, x, label, b.output("dx", {z.rows, z.classes}, tolerance));
    };
    row.cases.push_back({.name = z.name(), .run = run, .small = z.small(), .forward = [=](Bench& b) {
                           run_cross_entropy(b, z);
                         }});
  }
  return row;
}

}  // namespace

std::vector<OpRow> loss_rows() {
  return {cross_entropy_row(), cross_entropy_backward_row()};
}

}  // namespace imago::test
