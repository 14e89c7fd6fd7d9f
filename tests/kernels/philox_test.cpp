// Philox against its published answers; the floats made of it against double arithmetic and statistics.
#include <gtest/gtest.h>

#include <algorithm>
#include <bit>
#include <cmath>
#include <numbers>
#include <vector>

#include "kernels/philox.h"

namespace imago {
namespace {

constexpr uint64_t kSeed = 20240229;
constexpr int kQuads = 1 << 18;  // a million numbers

std::vector<float> draw(FloatQuad (*quad)(uint64_t, uint32_t, int64_t, uint32_t), int64_t id) {
  std::vector<float> x(4 * kQuads);
  for (uint32_t q = 0; q < kQuads; ++q) {
    const FloatQuad v = quad(kSeed, 3, id, q);
    for (int lane = 0; lane < 4; ++lane) x[4 * q + lane] = v[lane];
  }
  return x;
}

/// Kolmogorov-Smirnov: sup |empirical - cdf|. sqrt(n) times it exceeds 1.95 with probability 0.001.
double ks_statistic(std::vector<float> x, double (*cdf)(double)) {
  std::sort(x.begin(), x.end());
  const double n = static_cast<double>(x.size());
  double worst = 0;
  for (size_t i = 0; i < x.size(); ++i) {
    const double f = cdf(x[i]);
    worst = std::max({worst, std::abs(f - i / n), std::abs(f - (i + 1) / n)});
  }
  return worst * std::sqrt(n);
}

/// Empirical moment E x^p against its exact value, in standard errors: sqrt(Var x^p / n).
double moment_error(const std::vector<float>& x, int p, double exact, double variance) {
  double sum = 0;
  for (float v : x) sum += std::pow(static_cast<double>(v), p);
  const double n = static_cast<double>(x.size());
  return std::abs(sum / n - exact) / std::sqrt(variance / n);
}

uint64_t fnv1a(const std::vector<float>& x) {
  uint64_t h = 0xcbf29ce484222325u;
  for (float v : x) h = (h ^ std::bit_cast<uint32_t>(v)) * 0x100000001b3u;
  return h;
}

TEST(Philox, KnownAnswers) {  // kat_vectors of Random123, philox4x32 with 10 rounds
  struct {
    PhiloxWords counter;
    uint32_t key0, key1;
    PhiloxWords answer;
  } const vectors[] = {{{0, 0, 0, 0}, 0, 0, {0x6627e8d5, 0xe169c58d, 0xbc57ac4c, 0x9b00dbd8}},
                       {{~0u, ~0u, ~0u, ~0u}, ~0u, ~0u, {0x408f276d, 0x41c83b0e, 0xa20bc7c6, 0x6d5451fd}},
                       {{0x243f6a88, 0x85a308d3, 0x13198a2e, 0x03707344},
                        0xa4093822,
                        0x299f31d0,
                        {0xd16cfe09, 0x94fdcceb, 0x5001e420, 0x24126ea1}}};
  for (const auto& v : vectors) {
    const PhiloxWords w = philox_4x32_10(v.counter, v.key0, v.key1);
    EXPECT_EQ(w.w0, v.answer.w0);
    EXPECT_EQ(w.w1, v.answer.w1);
    EXPECT_EQ(w.w2, v.answer.w2);
    EXPECT_EQ(w.w3, v.answer.w3);
  }
}

TEST(Philox, CounterLayout) {  // counter = {quad, id low, id high, stream}, key = seed
  const PhiloxWords w = random_words(0x299f31d0a4093822u, 0x03707344, 0x13198a2e85a308d3, 0x243f6a88);
  EXPECT_EQ(w.w0, 0xd16cfe09u);
  EXPECT_EQ(w.w3, 0x24126ea1u);
  EXPECT_EQ(normal_at(kSeed, 1, -5, 4 * 77 + 2), normal_quad(kSeed, 1, -5, 77).v2);
  EXPECT_EQ(uniform_at(kSeed, 1, -5, 4 * 77 + 3), uniform_quad(kSeed, 1, -5, 77).v3);
}

// The same bits under every compiler, optimisation level and instruction set. These numbers may never change:
// people's seeds would give other images.
TEST(Philox, BitsArePinned) {
  EXPECT_EQ(fnv1a(draw(uniform_quad, 1)), 0xab5527a7683bcc33u);
  EXPECT_EQ(fnv1a(draw(normal_quad, 1)), 0xfac7508dfa8513f7u);
}

// |z - exact| <= 6 u r with u = 2^-24: ln within 3.1 u, so r within (3.1/2 + 1) u after the square root's own
// rounding; the angle's function within 2.4 u; the last product rounds once more. 2.55 + 2.4 + 1 < 6.
TEST(Philox, NormalsAreAccurate) {
  double worst = 0;
  for (uint32_t q = 0; q < kQuads; ++q) {
    PhiloxWords w = random_words(kSeed, 4, 0, q);
    if (q % 4 == 1) w.w0 >>= w.w2 % 32;           // into the tail
    if (q % 4 == 2) w.w0 = ~(w.w0 >> w.w2 % 32);  // towards u = 1, where ln u is small
    const auto z = philox_detail::box_muller(w.w0, w.w1);
    const double u = fmaf(static_cast<float>(w.w0 >> 1), 0x1p-31f, 0x1p-32f);
    const double r = std::sqrt(-2 * std::log(u)), angle = 2 * std::numbers::pi * w.w1 * 0x1p-32;
    const double error =
        std::max(std::abs(z.first - r * std::cos(angle)), std::abs(z.second - r * std::sin(angle)));
    EXPECT_LE(error, 6 * 0x1p-24 * r) << "words " << w.w0 << " " << w.w1;
    worst = std::max(worst, error);
  }
  EXPECT_GT(worst, 1e-8);  // the comparison compares something
  RecordProperty("max_abs_error", std::to_string(worst));
}

TEST(Philox, EveryWordGivesAFiniteNormal) {
  for (uint32_t w0 : {0u, 1u, 2u, ~0u, ~1u, 1u << 31}) {
    for (uint32_t w1 : {0u, 1u, 1u << 29, 1u << 30, 1u << 31, 3u << 30, ~0u}) {
      const auto z = philox_detail::box_muller(w0, w1);
      EXPECT_LE(std::hypot(z.first, z.second), 6.67);
    }
  }
}

TEST(Philox, Uniforms) {
  const auto x = draw(uniform_quad, 2);
  EXPECT_GE(*std::min_element(x.begin(), x.end()), 0.0f);
  EXPECT_LT(*std::max_element(x.begin(), x.end()), 1.0f);
  EXPECT_LT(ks_statistic(x, [](double v) { return v; }), 1.95);
  EXPECT_LT(moment_error(x, 1, 1.0 / 2, 1.0 / 12), 3.3);
  EXPECT_LT(moment_error(x, 2, 1.0 / 3, 4.0 / 45), 3.3);
}

TEST(Philox, Normals) {
  const auto x = draw(normal_quad, 2);
  EXPECT_LT(ks_statistic(x, [](double v) { return std::erfc(-v / std::numbers::sqrt2) / 2; }), 1.95);
  EXPECT_LT(moment_error(x, 1, 0, 1), 3.3);   // 3.3 standard errors: once in a thousand
  EXPECT_LT(moment_error(x, 2, 1, 2), 3.3);   // Var x^2 = 3 - 1
  EXPECT_LT(moment_error(x, 3, 0, 15), 3.3);  // Var x^3 = 15
  EXPECT_LT(moment_error(x, 4, 3, 96), 3.3);  // Var x^4 = 105 - 9
}

TEST(Philox, NeighboursAreIndependent) {  // correlation of n pairs has standard deviation 1 / sqrt(n)
  const auto x = draw(normal_quad, 5), y = draw(normal_quad, 6);
  for (size_t lag : {0, 1, 2, 3, 4}) {
    double across = 0, within = 0;
    for (size_t i = 0; i + lag < x.size(); ++i) {
      across += static_cast<double>(x[i]) * y[i + lag];
      if (lag) within += static_cast<double>(x[i]) * x[i + lag];
    }
    EXPECT_LT(std::abs(across) / std::sqrt(x.size()), 3.6) << "lag " << lag;
    EXPECT_LT(std::abs(within) / std::sqrt(x.size()), 3.6) << "lag " << lag;
  }
}

TEST(Philox, UniformBelow) {  // chi-square with n-1 degrees: mean n-1, standard deviation sqrt(2(n-1))
  for (uint32_t n : {1u, 2u, 7u, 1000u}) {
    std::vector<double> count(n);
    for (int64_t id = 0; id < kQuads; ++id) {
      const uint32_t k = uniform_below(n, kSeed, 9, id, 0);
      ASSERT_LT(k, n);
      count[k] += 1;
    }
    const double expected = static_cast<double>(kQuads) / n;
    double chi2 = 0;
    for (double c : count) chi2 += (c - expected) * (c - expected) / expected;
    EXPECT_LE(std::abs(chi2 - (n - 1.0)), 3.3 * std::sqrt(2 * (n - 1.0))) << "n = " << n;
  }
  for (uint32_t i = 0; i < 1000; ++i) EXPECT_LT(uniform_below(~0u, kSeed, 9, 1, i), ~0u);
}

}  // namespace
}  // namespace imago
