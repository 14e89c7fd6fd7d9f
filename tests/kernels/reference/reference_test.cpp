// The reference backend, which every other backend is compared with, against answers worked out by hand or by
// another formula than its own.
#include <gtest/gtest.h>

#include <cmath>
#include <vector>

#include "kernels/backend.h"

namespace imago {
namespace {

using Numbers = std::vector<double>;

struct NoWorkspace : Workspace {
  void* get(size_t) override { failure("the reference needs no scratch memory"); }
} workspace;

Backend& reference = reference_backend();

/// A float64 tensor over a vector's memory.
TensorRef ref(Numbers& v, const Shape& shape) {
  check(shape.numel() == static_cast<int64_t>(v.size()), "wrong shape");
  return {v.data(), DType::kFloat64, shape};
}

void expect_near(const Numbers& got, const Numbers& expected, double tolerance = 1e-12) {
  ASSERT_EQ(got.size(), expected.size());
  for (size_t i = 0; i < got.size(); ++i) EXPECT_NEAR(got[i], expected[i], tolerance) << "element " << i;
}

TEST(Reference, ConvolutionOfACross) {
  // A 3x3 image 1..9 under a filter that has its four arms and a centre of its own.
  Numbers x = {1, 2, 3, 4, 5, 6, 7, 8, 9}, w = {0, 1, 0, 10, 100, 1000, 0, 10000, 0}, y(9);
  reference.conv2d({ref(x, {1, 3, 3, 1})}, ref(w, {1, 3, 3, 1}), Conv2dGeometry::same(3), {},
                   ref(y, {1, 3, 3, 1}), workspace);
  expect_near(y, {42100, 53210, 60320, 75401, 86542, 90653, 8704, 9875, 986});
}

TEST(Reference, ConvolutionDownwards) {
  // Stride 2 with zeros only below and to the right, as the U-Net pads: 4x4 -> 2x2, each output a sum of 3x3.
  Numbers x(16), w(9, 1), y(4);
  for (size_t i = 0; i < 16; ++i) x[i] = static_cast<double>(i);
  reference.conv2d({ref(x, {1, 4, 4, 1})}, ref(w, {1, 3, 3, 1}), {2, 0, 0, 1, 1}, {}, ref(y, {1, 2, 2, 1}),
                   workspace);
  // Of rows 0..2 and columns 0..2; columns 2, 3; rows 2, 3 and columns 0..2; the last four.
  expect_near(y, {45, 39, 66, 50});
}

TEST(Reference, ConvolutionOfTwoSourcesWithEverythingAdded) {
  // One pixel, channels (1, 2) and (3): y_k = (w_k . (1,2,3) + bias + per image + residual) / 2.
  Numbers a = {1, 2}, b = {3}, w = {1, 10, 100, 1, 1, 1}, bias = {0.5, 0.25}, image = {4, 8},
          residual = {-1, 1}, y(2);
  const Conv2dEpilogue added{ref(bias, {2}), ref(image, {1, 2}), ref(residual, {1, 1, 1, 2}), 0.5f};
  reference.conv2d({ref(a, {1, 1, 1, 2}), ref(b, {1, 1, 1, 1})}, ref(w, {2, 1, 1, 3}), {}, added,
                   ref(y, {1, 1, 1, 2}), workspace);
  expect_near(y, {(321 + 0.5 + 4 - 1) / 2, (6 + 0.25 + 8 + 1) / 2});
}

TEST(Reference, GroupNorm) {
  // Two pixels of four channels in two groups: (1,3 | 5,7) is normalised as (1,3,5,7) taken by channels
  // 0 and 1.
  Numbers x = {1, 3, 10, 10, 5, 7, 10, 10}, gamma = {1, 2, 3, 4}, beta = {0, 1, 5, 6}, y(8), statistics(4);
  reference.group_norm({ref(x, {1, 2, 4})}, ref(gamma, {4}), ref(beta, {4}), {}, {2, 0, Activation::kNone},
                       ref(y, {1, 2, 4}), ref(statistics, {1, 2, 2}), workspace);
  const double r = 1 / std::sqrt(5.0);  // mean 4, variance (9 + 1 + 1 + 9) / 4 = 5
  expect_near({y[0], y[1], y[4], y[5]}, {-3 * r, -1 * r * 2 + 1, r, 3 * r * 2 + 1});
  expect_near({statistics[0], statistics[1], statistics[2]}, {4, r, 10});
}

TEST(Reference, GroupNormScaleShiftAndSilu) {
  Numbers x = {-1, 1}, gamma = {1}, beta = {0.5}, scale_shift = {1, 3}, y(2), statistics(2);
  reference.group_norm({ref(x, {1, 2, 1})}, ref(gamma, {1}), ref(beta, {1}), ref(scale_shift, {1, 2}),
                       {1, 0, Activation::kSilu}, ref(y, {1, 2, 1}), ref(statistics, {1, 1, 2}), workspace);
  const auto silu = [](double h) { return h / 2 * (1 + std::tanh(h / 2)); };  // the sigmoid is a tanh
  expect_near(y, {silu(-0.5 * 2 + 3), silu(1.5 * 2 + 3)});
}

TEST(Reference, AttentionLooksUp) {
  // Two heads of one dimension. Head 0: equal scores, so the mean of the values. Head 1: scores 0 and ln 3.
  Numbers q = {0, 1, 0, 1}, k = {5, 0, 7, std::log(3.0)}, v = {2, 4, 6, 8}, y(4), lse(4);
  reference.attention(ref(q, {1, 2, 2}), ref(k, {1, 2, 2}), ref(v, {1, 2, 2}), 2, 1, ref(y, {1, 2, 2}),
                      ref(lse, {1, 2, 2}), workspace);
  expect_near(y, {4, 0.25 * 4 + 0.75 * 8, 4, 7});
  expect_near(lse, {std::log(2.0), std::log(2.0), std::log(4.0), std::log(4.0)});
}

TEST(Reference, AttentionSurvivesHugeScores) {
  Numbers q = {1, 1}, k = {2000, 1000}, v = {3, 5}, y(2), lse(2);
  reference.attention(ref(q, {1, 2, 1}), ref(k, {1, 2, 1}), ref(v, {1, 2, 1}), 1, 1, ref(y, {1, 2, 1}),
                      ref(lse, {1, 1, 2}), workspace);
  expect_near(y, {3, 3});
  expect_near(lse, {2000, 2000});
}

TEST(Reference, Resampling) {
  Numbers x = {1, 2, 3, 4}, up(16), down(1);
  reference.upsample2x(ref(x, {1, 2, 2, 1}), 1, ref(up, {1, 4, 4, 1}));
  expect_near(up, {1, 1, 2, 2, 1, 1, 2, 2, 3, 3, 4, 4, 3, 3, 4, 4});
  reference.sum_pool2x(ref(x, {1, 2, 2, 1}), 0.25f, ref(down, {1, 1, 1, 1}));
  expect_near(down, {2.5});
}

TEST(Reference, Sinusoid) {
  Numbers y(5);
  std::vector<float> t = {3}, f = {1, 0.5f};
  const TensorRef times(t.data(), DType::kFloat32, {1}), frequencies(f.data(), DType::kFloat32, {2});
  reference.sinusoid(times, frequencies, false, ref(y, {1, 5}));
  expect_near(y, {std::sin(3), std::sin(1.5), std::cos(3), std::cos(1.5), 0});
  reference.sinusoid(times, frequencies, true, ref(y, {1, 5}));
  expect_near(y, {std::cos(3), std::cos(1.5), std::sin(3), std::sin(1.5), 0});
}

TEST(Reference, QSampleScalesBytesAndAddsTheSameNoise) {
  std::vector<uint8_t> x0 = {0, 255, 51, 204};
  std::vector<int64_t> ids = {8, 9};
  Numbers coefficients = {1, 0, 0, 1, 0.5, 2, 1, 1}, xt(4), target(4), noise(4);
  const RandomKey key{1, 2, {ids.data(), DType::kInt64, {2}}};
  reference.q_sample({x0.data(), DType::kUInt8, {2, 2}}, ref(coefficients, {2, 4}), key, ref(xt, {2, 2}),
                     ref(target, {2, 2}));
  reference.normal(key, ref(noise, {2, 2}));
  expect_near(xt, {-1, 1, 0.5 * -0.6 + 2 * noise[2], 0.5 * 0.6 + 2 * noise[3]});
  expect_near(target, {noise[0], noise[1], -0.6 + noise[2], 0.6 + noise[3]});
}

TEST(Reference, MseLossIsWeightedMean) {
  Numbers p = {1, 2, 3, 4}, target = {1, 4, 0, 0}, weight = {1, 2}, loss(2);
  reference.mse_loss(ref(p, {2, 2}), ref(target, {2, 2}), ref(weight, {2}), ref(loss, {2}));
  expect_near(loss, {2, 25});
}

TEST(Reference, SamplerStepClipsX0) {
  Numbers x = {1, 1}, m = {0, 0.5}, y(2);
  std::vector<int64_t> ids = {3};
  const RandomKey key{1, 2, {ids.data(), DType::kInt64, {1}}};
  reference.sampler_step({.x = ref(x, {1, 2}), .m = ref(m, {1, 2}), .y = ref(y, {1, 2})},
                         {2, -2, 1, 0.25f, 4, 8, 0}, key);
  expect_near(y, {0.25 + 8 * 1, 0.25 + 2 + 8 * 1});
}

TEST(Reference, FirstAdamWStepIsTheLearningRate) {
  // m and v start at zero: m / c1 = g and sqrt(v / c2) = |g|, so each parameter moves by rate * sign(g),
  // after its decay; the gradient (3, 4), of norm 5, is clipped to 2.5 before.
  std::vector<float> g = {3, -4}, norm = {5}, p = {1, 2}, m(2), v(2), ema = {1, 2};
  std::vector<bf16> half(2);
  AdamWStep step{0.1f, 0.9f, 0.99f, 0, 0.5f, 0.1f, 0.01f, 2.5f, 0.75f};
  const auto flat = [](std::vector<float>& x) { return TensorRef(x.data(), DType::kFloat32, {2}); };
  reference.adamw(flat(g), TensorRef(norm.data(), DType::kFloat32, {1}),
                  TensorRef(&step, DType::kUInt8, {sizeof step}), flat(p), flat(m), flat(v), flat(ema),
                  TensorRef(half.data(), DType::kBFloat16, {2}));
  expect_near({p[0], p[1]}, {0.95 - 0.1, 1.9 + 0.1}, 1e-6);
  expect_near({m[0], m[1]}, {0.15, -0.2}, 1e-6);
  expect_near({v[0], v[1]}, {0.01 * 2.25, 0.01 * 4}, 1e-6);
  expect_near({ema[0], ema[1]}, {0.75 + 0.25 * 0.85, 1.5 + 0.25 * 2}, 1e-6);
  expect_near({half[0], half[1]}, {0.85, 2}, 0.85 / 256);
}

}  // namespace
}  // namespace imago
