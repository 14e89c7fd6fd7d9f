// Rows of the op table: group_norm, group_norm_backward.
#include <cmath>

#include "tests/kernels/op_table/op_table.h"

namespace imago::test {

namespace {

struct Norm {
  std::string what;
  Shape pixels;    // [N,...] without channels
  int64_t ca, cb;  // cb: channels of a second source, 0 for none
  int groups;
  bool silu, scale_shift;
  double mean = 0;  // of the inputs, whose deviation is 1
  float eps = 1e-5f;

  int64_t n() const { return pixels[0]; }
  int64_t c() const { return ca + cb; }
  Shape with_channels(int64_t channels) const {
    Shape s = pixels;
    s.push_back(channels);
    return s;
  }
  double pixels_a_image() const { return static_cast<double>(pixels.numel() / n()); }
  double group_size() const { return pixels_a_image() * static_cast<double>(c() / groups); }  // elements
  GroupNormConfig config() const { return {groups, eps, silu ? Activation::kSilu : Activation::kNone}; }
  std::string name() const {
    return str(what, ": ", pixels.to_string(), " C ", ca, cb ? str("+", cb) : "", " G ", groups,
               silu ? " silu" : "", scale_shift ? " scale-shift" : "", mean != 0 ? str(" mean ", mean) : "");
  }
  bool is_small() const { return pixels.numel() * c() <= 5000; }
};

const std::vector<Norm>& norms() {
  static const std::vector<Norm> all = {
      {"plain", {2, 8, 8}, 64, 0, 32, false, false},
      {"silu", {2, 8, 8}, 64, 0, 32, true, false},
      {"scale-shift", {2, 8, 8}, 64, 0, 16, true, true},
      {"scale-shift alone", {2, 4, 5}, 24, 0, 6, false, true},
      {"one channel a group", {2, 4, 4}, 32, 0, 32, true, false},
      {"one group", {2, 5, 3}, 24, 0, 1, true, false},
      {"odd", {3, 5, 7}, 15, 0, 5, true, false},
      {"concat", {2, 4, 4}, 32, 32, 32, true, false},
      {"a group in both sources", {2, 4, 4}, 20, 12, 4, true, true},
      {"a group in both sources, odd", {1, 3, 5}, 7, 5, 3, false, false},
      {"tokens", {2, 17}, 48, 0, 6, false, false},
      {"one image of one pixel", {1, 1, 1}, 64, 0, 4, true, false},
      {"nothing to normalise", {2, 1, 1}, 8, 0, 8, false, false},
      {"large group", {1, 32, 32}, 32, 0, 2, true, false},
      {"large, odd", {1, 23, 24}, 6, 0, 2, true, true},
      {"far from zero", {2, 8, 8}, 32, 0, 8, true, false, 100},
      {"far from zero, large", {1, 24, 24}, 24, 8, 2, false, false, 100},
      {"another eps", {2, 4, 4}, 16, 0, 4, true, false, 0, 1e-6f},
      {"many channels", {1, 2, 3}, 640, 320, 32, true, false},
      {"many images", {70, 1, 2}, 34, 0, 1, true, true},
  };
  return all;
}

/// What both directions read.
struct Operands {
  Concat x;
  TensorRef gamma, beta, scale_shift;

  Operands(Bench& b, const Norm& z) {
    const Draw draw = [mean = z.mean](int64_t, double value) { return mean + value; };
    x.a = b.input("xa", z.with_channels(z.ca), draw);
    if (z.cb) x.b = b.input("xb", z.with_channels(z.cb), draw);
    gamma = b.input("gamma", {z.c()}, b.vectors());
    beta = b.input("beta", {z.c()}, b.vectors());
    if (z.scale_shift) scale_shift = b.input("scale_shift", {z.n(), 2 * z.c()});
  }
};

/// 1 / sqrt(var + eps): about 1 for a group of many elements; of a few, anything up to 1 / sqrt(eps).
double largest_rstd(const Norm& z) {
  return z.group_size() >= 64 ? 2 : 1 / std::sqrt(z.eps);
}

// The mean of L numbers around mu is a sum over L. Adding one after the other (any tree is better) rounds
// partial sums k mu, a random walk of u |mu| sqrt(sum k^2 / 3) / L = u |mu| sqrt(L) / 3. Five deviations, 1
// more for the numbers' own: 2 u sqrt(L) (1 + |mu|).
//
// The variance is a sum of L positive terms of mean 1: likewise 2 u sqrt(L), relative, of which rstd has
// half. Its terms are squares of x - mean, in which mean and difference may be off by u (1 + |mu|), relative
// to the deviation 1 / rstd. (The mean's own error enters only by its square.) This is what two passes or
// Welford's update reach; E x^2 - mean^2 is off by u mu^2 and fails "far from zero".
struct ForwardErrors {
  double mean, rstd, y;  // absolute, relative, absolute

  explicit ForwardErrors(const Norm& z) {
    const double largest = largest_rstd(z), root = std::sqrt(z.group_size()), size = 1 + std::abs(z.mean);
    mean = 2 * kU * root * size;
    rstd = kU * (root + 2 * size * largest + 4);
    // xhat has both errors; then gamma, 1 + scale (up to 5 and 6), a few roundings, and silu's slope, 1.1.
    const double xhat = mean * largest + kLargest * (rstd + 2 * kU);
    const double gain = kLargest * (z.scale_shift ? kLargest + 1 : 1);
    y = 1.1 * gain * (xhat + 6 * kU * kLargest);
  }
};

void run_group_norm(Bench& b, const Norm& z) {
  const ForwardErrors errors(z);
  const Operands in(b, z);
  const TensorRef y = b.output("y", z.with_channels(z.c()), Tolerance{.absolute = errors.y});
  const TensorRef statistics = b.output("statistics", {z.n(), z.groups, 2}, b.vectors(),
                                        {{.absolute = errors.mean}, {.relative = errors.rstd}});
  b.backend().group_norm(in.x, in.gamma, in.beta, in.scale_shift, z.config(), y, statistics, b.workspace());
}

OpRow group_norm_row() {
  OpRow row{.op = "group_norm"};
  for (const Norm& z : norms()) {
    row.cases.push_back(
        {.name = z.name(), .run = [=](Bench& b) { run_group_norm(b, z); }, .small = z.is_small()});
  }
  return row;
}

// The statistics are given. xhat = (x - mean) rstd has the error e = 2 u (1 + |mu|) rstd + 2 u |xhat|, dh
// with silu's second derivative (at most 0.5) times the gain of h likewise; sums of dh and dh xhat over a
// group's L elements, divided by L, add 4 u (sum_of), times |xhat|. Everything is multiplied by rstd and
// gamma (1 + scale).
struct BackwardTolerances {
  Tolerance dx, dgamma, dbeta, dscale_shift;
  double largest_dx;

  Tolerance dx_onto(bool so_far) const { return dx + roundings(so_far ? 1 : 0, largest_dx + kLargest); }

  explicit BackwardTolerances(const Norm& z) {
    const double rstd = largest_rstd(z), gain = kLargest * (z.scale_shift ? kLargest + 1 : 1);
    const double xhat_error = 2 * kU * (1 + std::abs(z.mean)) * rstd + 2 * kU * kLargest;
    const double dh_error = kLargest * ((z.silu ? 0.5 * gain * xhat_error : 0) + 8 * kU);
    largest_dx = rstd * gain * kLargest;
    const double pixels = z.pixels_a_image(), all = pixels * static_cast<double>(z.n());
    dx = {.absolute = rstd * gain * (dh_error + kLargest * xhat_error + 4 * kU * kLargest)};
    // Sums of terms dh (1 + scale) xhat: rounding of the sum, and the terms' own errors,
    // which are independent.
    const double factor = z.scale_shift ? std::sqrt(2) : 1;  // deviation of 1 + scale
    const auto sum = [&](double length, double term, double error) {
      return sum_of(length, term) + Tolerance{.absolute = error * std::sqrt(length) + 2 * kU * kLargest};
    };
    dgamma = sum(all, factor, factor * (dh_error * kLargest + kLargest * xhat_error));
    dbeta = sum(all, factor, factor * dh_error);
    dscale_shift = sum(pixels, std::sqrt(2), dh_error * kLargest + kLargest * kLargest * xhat_error);
  }
};

void run_group_norm_backward(Bench& b, const Norm& z, const SoFar& so_far) {
  const BackwardTolerances tolerances(z);
  const Operands in(b, z);
  const Shape a = z.with_channels(z.ca), second = z.with_channels(z.cb);
  const TensorRef dy = b.input("dy", z.with_channels(z.c()));
  const TensorRef statistics = b.input("statistics", {z.n(), z.groups, 2}, b.vectors());
  ConcatOut dx{b.output("dxa", a, tolerances.dx_onto(so_far.a))};
  if (z.cb) dx.b = b.output("dxb", second, tolerances.dx_onto(so_far.b));
  const TensorRef dgamma = b.added_to("dgamma", {z.c()}, tolerances.dgamma);
  const TensorRef dbeta = b.added_to("dbeta", {z.c()}, tolerances.dbeta);
  TensorRef dscale_shift;
  if (z.scale_shift) dscale_shift = b.output("dscale_shift", {z.n(), 2 * z.c()}, tolerances.dscale_shift);
  b.backend().group_norm_backward(dy, in.x, in.gamma, in.beta, in.scale_shift, statistics, z.config(),
                                  so_far.inputs(b, a, second), dx, dgamma, dbeta, dscale_shift,
                                  b.workspace());
}

OpRow group_norm_backward_row() {
  OpRow row{.op = "group_norm_backward"};
  for (const Norm& z : norms()) {
    row.cases.push_back({.name = z.name(),
                         .run = [=](Bench& b) { run_group_norm_backward(b, z, {}); },
                         .small = z.is_small(),
                         .forward = [=](Bench& b) { run_group_norm(b, z); }});
    for (const SoFar& so_far : SoFar::all(z.cb > 0)) {
      row.cases.push_back({.name = z.name() + so_far.name(),
                           .run = [=](Bench& b) { run_group_norm_backward(b, z, so_far); },
                           .small = z.is_small() && so_far.a && so_far.b == (z.cb > 0)});  // all there is
    }
  }
  return row;
}

}  // namespace

std::vector<OpRow> norm_rows() {
  return {group_norm_row(), group_norm_backward_row()};
}

}  // namespace imago::test
