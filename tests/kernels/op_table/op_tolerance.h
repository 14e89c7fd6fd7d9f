// How far a result may lie from the exact one, derived from the number type and the length of sums.
//
// The measure is elementwise: an element fails if |got - expected| exceeds
//   absolute + relative |expected| + of_rms R + u_out |expected|,
// where R is the larger of the root mean square of the tensor and that of the element's own row (last
// dimension). u_out, half a unit in the last place of the output's type, is what storing costs; the suite
// adds it by itself, so a row states the arithmetic's error only. An exact output must equal the expected
// value rounded to its type.
//
// Inputs are N(0,1), so sizes are known: of a million numbers none exceeds kLargest. u = 2^-24 for float32,
// 2^-8 for bfloat16.
#pragma once

#include <cmath>
#include <initializer_list>
#include <vector>

#include "kernels/dtype.h"

namespace imago::test {

struct Tolerance {
  double absolute = 0;
  double relative = 0;
  double of_rms = 0;
  bool exact = false;
};

/// Of an output: one tolerance for all its elements, or one for each column (of the last dimension).
class Tolerances {
 public:
  Tolerances(const Tolerance& all) : columns_{all} {}
  Tolerances(std::initializer_list<Tolerance> columns) : columns_(columns) {}
  const Tolerance& of(size_t element) const { return columns_[element % columns_.size()]; }

 private:
  std::vector<Tolerance> columns_;
};

constexpr double kU = 0x1p-24;     // unit roundoff of float32, in which everything is computed
constexpr double kUBf16 = 0x1p-8;  // unit roundoff of bfloat16: 8 significant bits
constexpr double kLargest = 5;     // P(|z| > 5) = 6e-7

constexpr double unit_roundoff(DType t) {
  return t == DType::kFloat32 ? kU : t == DType::kBFloat16 ? kUBf16 : t == DType::kFloat64 ? 0x1p-53 : 0;
}

constexpr Tolerance exact() {
  return {.exact = true};
}

/// `count` roundings of intermediate results no larger than `size`.
constexpr Tolerance roundings(double count, double size = 1) {
  return {.absolute = count * kU * size};
}

/// A chain of multiplications, divisions and calls of exp, sqrt, sin: `count` relative errors of u.
constexpr Tolerance factors(double count) {
  return {.relative = count * kU};
}

/// A float32 sum of `length` independent terms of mean zero and standard deviation `term`. Added one after
/// the other (any tree is better), the k-th partial sum is about term sqrt(k) and its rounding at most u
/// times that, so the errors add up to a random walk of standard deviation
///   u term sqrt(sum k / 3) = u term length / sqrt(6).
/// Five standard deviations, and as much again for products rounded before they are added: 4 u term length.
/// Tensor cores truncate instead: each step of 8 terms may take 2u off the running sum, always downwards: u
/// length / 4 of the result.
constexpr Tolerance sum_of(double length, double term = 1) {
  return {.absolute = 4 * kU * term * length, .relative = kU * length / 4};
}

constexpr Tolerance operator+(const Tolerance& a, const Tolerance& b) {
  return {a.absolute + b.absolute, a.relative + b.relative, a.of_rms + b.of_rms, a.exact && b.exact};
}
constexpr Tolerance operator*(double factor, const Tolerance& t) {
  return {factor * t.absolute, t.relative, t.of_rms, t.exact};  // of a result that is scaled by `factor`
}

}  // namespace imago::test
