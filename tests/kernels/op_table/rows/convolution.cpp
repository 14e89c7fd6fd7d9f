// Rows of the op table: conv2d, conv2d_dgrad, conv2d_wgrad, per_image_bias_grad.
#include <cmath>
#include <set>

#include "tests/kernels/op_table/op_table.h"

namespace imago::test {

namespace {

/// One convolution: the sizes, and what is added to it.
struct Conv {
  std::string what;
  int64_t n, h, w, ca, cb, k, r, s;  // cb: channels of a second source, 0 for none
  Conv2dGeometry geometry;
  bool bias = false, per_image = false, residual = false;
  float scale = 1;

  int64_t c() const { return ca + cb; }
  int64_t out_h() const { return geometry.out_height(h, r); }
  int64_t out_w() const { return geometry.out_width(w, s); }
  Shape weights() const { return {k, r, s, c()}; }
  Shape out() const { return {n, out_h(), out_w(), k}; }
  int64_t products() const { return n * out_h() * out_w() * k * r * s * c(); }
  std::string name() const {
    return str(what, ": ", n, "x", h, "x", w, "x", ca, cb ? str("+", cb) : "", " K ", k, " ", r, "x", s,
               " stride ", geometry.stride, bias ? " bias" : "", per_image ? " per-image" : "",
               residual ? " residual" : "", scale != 1 ? str(" scale ", scale) : "");
  }
  /// Shapes that are small enough to be tried with every kind of so_far: one of every path of dgrad.
  bool adds_to_sums() const {
    static const std::set<std::string> some = {"everything added",
                                               "linear",
                                               "first",
                                               "last",
                                               "down",
                                               "odd everything",
                                               "long sum of dgrad",
                                               "concat",
                                               "blocks, two results",
                                               "concat, odd",
                                               "blocks, long sum of dgrad"};
    return some.contains(what);
  }
  bool is_tiny() const { return products() <= 100000; }
  // Tensor cores take blocks of channels in one piece, also emulated ones.
  bool is_small() const { return is_tiny() || (c() % 64 == 0 && k % 8 == 0 && products() <= 12000000); }
};

const Conv2dGeometry kNone{1, 0, 0, 0, 0}, kSame3 = Conv2dGeometry::same(3);
const Conv2dGeometry kDown{2, 0, 0, 1, 1};  // the U-Net's asymmetric downsampling
const Conv2dGeometry kDownSymmetric{2, 1, 1, 1, 1};

// "Long": every ring of stages goes around at least twice. Four stages of 32 terms (bfloat16) or 16 in
// the implicit GEMM. On Hopper, forward and dgrad have up to four stages of pixels, each 64 channels of
// one tap (with a halo, three stages of a column of taps), and eight of filters; wgrad six stages of 64
// or 128 pixels.
const std::vector<Conv>& convolutions() {
  static const std::vector<Conv> all = {
      {"plain", 2, 8, 8, 32, 0, 48, 3, 3, kSame3},
      {"everything added", 2, 8, 8, 32, 0, 48, 3, 3, kSame3, true, true, true, 0.70710678f},
      {"bias", 2, 5, 6, 16, 0, 20, 3, 3, kSame3, true},
      {"time embedding", 3, 5, 6, 16, 0, 20, 3, 3, kSame3, false, true},
      {"residual", 2, 5, 6, 16, 0, 20, 3, 3, kSame3, false, false, true},
      {"scaled", 2, 5, 6, 16, 0, 20, 3, 3, kSame3, false, false, false, 0.5f},
      {"1x1", 2, 5, 7, 24, 0, 40, 1, 1, kNone, true, false, true, 0.70710678f},
      {"linear", 1, 1, 10, 33, 0, 17, 1, 1, kNone, true},
      {"linear, one row", 1, 1, 1, 64, 0, 130, 1, 1, kNone, true},
      {"first", 2, 9, 9, 3, 0, 32, 3, 3, kSame3, true},
      {"last", 2, 9, 9, 32, 0, 3, 3, 3, kSame3, true},
      {"first, wide", 2, 5, 41, 3, 0, 128, 3, 3, kSame3, true},
      {"last, wide", 2, 5, 41, 128, 0, 3, 3, 3, kSame3, true},
      {"first, odd padding", 1, 6, 9, 2, 0, 12, 3, 3, {1, 0, 2, 1, 0}},
      {"last, odd padding", 1, 6, 9, 12, 0, 2, 3, 3, {1, 0, 2, 1, 0}, true, true, true, 0.5f},
      {"first, one channel", 2, 5, 9, 1, 0, 60, 3, 3, kSame3},
      {"last, one channel", 2, 5, 9, 60, 0, 1, 3, 3, kSame3},
      {"one channel", 1, 4, 4, 1, 0, 1, 3, 3, kSame3, true},
      {"one pixel", 1, 1, 1, 8, 0, 8, 3, 3, kSame3},
      {"down", 2, 8, 8, 16, 0, 16, 3, 3, kDown, true},
      {"down, odd size", 2, 7, 9, 16, 0, 24, 3, 3, kDown},
      {"down, symmetric", 2, 7, 10, 16, 0, 24, 3, 3, kDownSymmetric, true},
      {"down, 1x1", 1, 6, 7, 8, 0, 8, 1, 1, {2, 0, 0, 0, 0}},
      {"stride 3", 1, 8, 11, 8, 0, 8, 2, 3, {3, 1, 0, 0, 2}},
      {"odd everything", 3, 5, 7, 7, 0, 11, 5, 3, {1, 2, 1, 2, 1}, true, true, true},
      {"a row", 1, 5, 9, 16, 16, 24, 1, 7, {1, 0, 3, 0, 3}, true, false, true},
      {"a column", 1, 9, 5, 16, 0, 24, 7, 1, {1, 3, 0, 3, 0}, true},
      {"no padding", 1, 6, 6, 8, 0, 12, 3, 3, kNone},
      {"long sum", 1, 6, 6, 128, 0, 64, 3, 3, kSame3, true},
      {"long sum, 1x1", 1, 4, 4, 1088, 0, 32, 1, 1, kNone},
      {"long sum, few outputs", 1, 2, 2, 128, 0, 16, 3, 3, kSame3, true, false, true},
      {"concat", 2, 6, 6, 40, 24, 32, 3, 3, kSame3, true, true},
      {"concat, 1x1", 2, 4, 5, 24, 40, 32, 1, 1, kNone, true},
      {"concat, odd", 1, 4, 3, 5, 3, 7, 3, 3, kSame3, true, true, true, 0.5f},
      {"concat, long sum", 1, 4, 4, 72, 56, 24, 3, 3, kSame3},
      {"many images", 17, 4, 4, 16, 0, 16, 3, 3, kSame3, true, true},
      {"wide output", 1, 12, 12, 16, 0, 130, 3, 3, kSame3, true},
      {"large image", 1, 33, 40, 8, 0, 16, 3, 3, kSame3},
      // Channels in blocks of 64, as kernels for tensor cores like them.
      {"blocks", 3, 8, 8, 64, 0, 72, 3, 3, kSame3, true, true, true, 0.70710678f},
      {"blocks, concat", 2, 6, 10, 64, 64, 136, 3, 3, kSame3, true},
      {"blocks, 4x4", 9, 4, 4, 128, 0, 64, 3, 3, kSame3, true, true},
      {"blocks, wide", 1, 18, 16, 64, 0, 64, 3, 3, kSame3},
      {"blocks, no padding", 1, 11, 13, 64, 0, 64, 3, 5, {1, 0, 3, 1, 0}},
      {"blocks, 1x1", 2, 9, 9, 128, 0, 64, 1, 1, kNone, true, false, true},
      {"blocks, two results", 1, 6, 10, 64, 64, 64, 3, 3, kSame3, false, false, false, 0.70710678f},
      {"blocks, many pixels", 1, 40, 56, 64, 0, 16, 3, 3, kSame3},
      {"blocks, linear", 1, 1, 300, 192, 0, 64, 1, 1, kNone, true},
      {"long sum of dgrad", 1, 2, 2, 8, 0, 128, 3, 3, kSame3, true},
      {"long sum of wgrad", 1, 33, 32, 2, 0, 4, 3, 3, kSame3},
      {"long sum of wgrad, 1x1", 1, 17, 64, 8, 0, 8, 1, 1, kNone},
      {"odd, long sum", 1, 3, 3, 35, 0, 5, 3, 3, kSame3},
      {"odd, long sum of dgrad", 1, 3, 3, 5, 0, 35, 3, 3, kSame3},
      {"blocks, long sum", 1, 4, 8, 128, 0, 64, 3, 3, kSame3},
      {"blocks, long sum of dgrad", 1, 4, 8, 64, 0, 128, 3, 3, kSame3},
      {"blocks, long sum of wgrad", 1, 32, 32, 64, 0, 8, 3, 3, kSame3},
      {"blocks, long sum of wgrad, 1x1", 1, 1, 800, 64, 0, 8, 1, 1, kNone},
  };
  return all;
}

Concat source(Bench& b, const Conv& z) {
  const TensorRef xa = b.input("xa", {z.n, z.h, z.w, z.ca});
  return {xa, z.cb ? b.input("xb", {z.n, z.h, z.w, z.cb}) : TensorRef()};
}

Conv2dEpilogue added(Bench& b, const Conv& z) {
  return {z.bias ? b.input("bias", {z.k}, b.vectors()) : TensorRef(),
          z.per_image ? b.input("per_image", {z.n, z.k}) : TensorRef(),
          z.residual ? b.input("residual", z.out()) : TensorRef(), z.scale};
}

// A sum over R S C products of unit numbers, three additions and a product more.
Tolerance conv2d_tolerance(const Conv& z) {
  const double length = static_cast<double>(z.r * z.s * z.c());
  return z.scale * (sum_of(length) + roundings(4, kLargest * std::sqrt(length + 3)));
}

void run_conv2d(Bench& b, const Conv& z) {
  const Concat x = source(b, z);
  const TensorRef w = b.input("w", z.weights());
  const Conv2dEpilogue epilogue = added(b, z);
  const TensorRef y = b.output("y", z.out(), conv2d_tolerance(z));
  b.backend().conv2d(x, w, z.geometry, epilogue, y, b.workspace());
}

OpRow conv2d_row() {
  OpRow row{.op = "conv2d", .library = true};
  for (const Conv& z : convolutions()) {
    row.cases.push_back(
        {.name = z.name(), .run = [=](Bench& b) { run_conv2d(b, z); }, .small = z.is_small()});
  }
  return row;
}

// A pixel is read by at most R S outputs of K channels. What was there so far is added to their sum.
void run_conv2d_dgrad(Bench& b, const Conv& z, const SoFar& so_far) {
  const double length = static_cast<double>(z.r * z.s * z.k), size = kLargest * std::sqrt(length);
  const auto tolerance = [&](bool adds) {
    return z.scale * (sum_of(length) + roundings(2, size)) +
           roundings(adds ? 1 : 0, z.scale * size + kLargest);
  };
  const Shape a{z.n, z.h, z.w, z.ca}, second{z.n, z.h, z.w, z.cb};
  const TensorRef dy = b.input("dy", z.out()), w = b.input("w", z.weights());
  const TensorRef dxa = b.output("dxa", a, tolerance(so_far.a));
  const TensorRef dxb = z.cb ? b.output("dxb", second, tolerance(so_far.b)) : TensorRef();
  b.backend().conv2d_dgrad(dy, w, z.geometry, z.scale, so_far.inputs(b, a, second), {dxa, dxb},
                           b.workspace());
}

OpRow conv2d_dgrad_row() {
  OpRow row{.op = "conv2d_dgrad", .library = true};
  for (const Conv& z : convolutions()) {
    row.cases.push_back({.name = z.name(),
                         .run = [=](Bench& b) { run_conv2d_dgrad(b, z, {}); },
                         .small = z.is_small(),
                         .forward = [=](Bench& b) { run_conv2d(b, z); }});
    for (const SoFar& so_far : SoFar::all(z.cb > 0)) {
      row.cases.push_back({.name = z.name() + so_far.name(),
                           .run = [=](Bench& b) { run_conv2d_dgrad(b, z, so_far); },
                           .small = z.is_small() && z.adds_to_sums()});
    }
  }
  return row;
}

// A sum of `length` products, scaled and added to what was there.
Tolerance gradient_tolerance(double length, float scale) {
  return scale * sum_of(length) + roundings(3, kLargest * (std::sqrt(length) + 1));
}

// A weight is used at every output pixel of every image, as the bias is. Every convolution with dbias and
// without; only with it where tests are slow, except for tiny ones.
OpRow conv2d_wgrad_row() {
  OpRow row{.op = "conv2d_wgrad", .library = true};
  for (Conv z : convolutions())
    for (const bool bias : {false, true}) {
      z.bias = bias;
      const auto run = [=](Bench& b) {
        const Tolerance tolerance =
            gradient_tolerance(static_cast<double>(z.n * z.out_h() * z.out_w()), z.scale);
        const Concat x = source(b, z);
        const TensorRef dy = b.input("dy", z.out()), dw = b.added_to("dw", z.weights(), tolerance);
        const TensorRef dbias = z.bias ? b.added_to("dbias", {z.k}, tolerance) : TensorRef();
        b.backend().conv2d_wgrad(x, dy, z.geometry, z.scale, dw, dbias, b.workspace());
      };
      row.cases.push_back({.name = z.name(),
                           .run = run,
                           .small = z.is_small() && (bias || z.is_tiny()),
                           .forward = [=](Bench& b) { run_conv2d(b, z); }});
    }
  return row;
}

struct PerImageBias {
  Shape dy;
  float scale;
};

// The differentiated operation is a 1x1 convolution with that bias.
void run_biased(Bench& b, const PerImageBias& z) {
  const int64_t n = z.dy[0], k = z.dy[-1], pixels = z.dy.numel() / (n * k);
  const TensorRef x = b.input("x", {n, pixels, 1, 2}), w = b.input("w", {k, 1, 1, 2});
  const Conv2dEpilogue epilogue{{}, b.input("per_image", {n, k}), {}, z.scale};
  b.backend().conv2d({x}, w, {}, epilogue, b.output("y", {n, pixels, 1, k}), b.workspace());
}

OpRow per_image_bias_grad_row() {
  OpRow row{.op = "per_image_bias_grad"};
  for (const PerImageBias& z : std::vector<PerImageBias>{{{2, 8, 8, 32}, 1},
                                                         {{3, 5, 7, 13}, 0.70710678f},
                                                         {{4, 17, 24}, 0.5f},
                                                         {{1, 1, 1}, 1},
                                                         {{1, 1000, 130}, 1},
                                                         {{33, 9, 3}, 0.5f},
                                                         {{2, 64, 64, 8}, 1}}) {
    const auto run = [=](Bench& b) {
      const int64_t n = z.dy[0], k = z.dy[-1];
      const Tolerance tolerance = gradient_tolerance(static_cast<double>(z.dy.numel() / (n * k)), z.scale);
      const TensorRef dy = b.input("dy", z.dy);
      const TensorRef dper_image = b.output("dper_image", {n, k}, tolerance);
      b.backend().per_image_bias_grad(dy, z.scale, dper_image, b.workspace());
    };
    row.cases.push_back(
        {.name = z.dy.to_string(), .run = run, .small = z.dy.numel() <= 5000, .forward = [=](Bench& b) {
           run_biased(b, z);
         }});
  }
  return row;
}

}  // namespace

std::vector<OpRow> convolution_rows() {
  return {conv2d_row(), conv2d_dgrad_row(), conv2d_wgrad_row(), per_image_bias_grad_row()};
}

}  // namespace imago::test
