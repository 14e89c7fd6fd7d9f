// The CPU backend's own exp(), and that its loops give the same bits for any number of threads.
#include <gtest/gtest.h>
#include <omp.h>

#include <cmath>
#include <limits>
#include <memory>
#include <vector>

#include "kernels/backend.h"
#include "kernels/cpu/cpu_backend.h"
#include "kernels/cpu/simd_math.h"

namespace imago {
namespace {

float vector_exp(float x) {
  float lanes[cpu::kLanes];
  cpu::store(lanes, cpu::exp(cpu::splat(x)));
  return lanes[0];
}

// kernels/cpu/simd_math.h promises 2^-22.9 = 1.07 * 2^-23: one unit in the last place, and a little
// for r's rounding.
TEST(CpuMath, ExpIsWithinItsBound) {
  double worst = 0;
  for (float x = cpu::kExpLowest; x < cpu::kExpHighest; x += 0.00031f) {
    const double exact = std::exp(static_cast<double>(x));
    worst = std::max(worst, std::abs(vector_exp(x) / exact - 1));
  }
  EXPECT_LE(worst, std::exp2(-22.9));
  EXPECT_GE(worst, std::exp2(-25.0)) << "better than float32 can be: the test is broken";
}

TEST(CpuMath, ExpAtItsEnds) {
  const float infinity = std::numeric_limits<float>::infinity();
  EXPECT_EQ(vector_exp(0), 1);
  EXPECT_EQ(vector_exp(-88), 0);
  EXPECT_EQ(vector_exp(-infinity), 0);
  EXPECT_EQ(vector_exp(-1e30f), 0);
  EXPECT_EQ(vector_exp(89), infinity);
  EXPECT_EQ(vector_exp(1e30f), infinity);
  EXPECT_EQ(vector_exp(infinity), infinity);
  EXPECT_TRUE(std::isnan(vector_exp(std::numeric_limits<float>::quiet_NaN())));
  EXPECT_TRUE(std::isfinite(vector_exp(88.3f)));
  EXPECT_GT(vector_exp(-87.3f), 0);
}

float vector_exp2(float x) {
  cpu::Vec several[] = {cpu::splat(x), cpu::splat(-x)};
  cpu::exp2(several);
  float lanes[cpu::kLanes];
  cpu::store(lanes, several[0]);
  return lanes[0];
}

TEST(CpuMath, Exp2IsWithinItsBound) {
  double worst = 0;
  for (float x = -126; x < 127.5f; x += 0.00047f) {
    const double exact = std::exp2(static_cast<double>(x));
    worst = std::max(worst, std::abs(vector_exp2(x) / exact - 1));
  }
  EXPECT_LE(worst, std::exp2(-22.9));
  EXPECT_GE(worst, std::exp2(-25.0)) << "better than float32 can be: the test is broken";
}

TEST(CpuMath, Exp2AtItsEnds) {
  const float infinity = std::numeric_limits<float>::infinity();
  for (int k = -126; k < 128; ++k) EXPECT_EQ(vector_exp2(static_cast<float>(k)), std::exp2(k));
  EXPECT_EQ(vector_exp2(-126.6f), 0);
  EXPECT_EQ(vector_exp2(-1e30f), 0);
  EXPECT_EQ(vector_exp2(-infinity), 0);
  EXPECT_EQ(vector_exp2(127.6f), infinity);
  EXPECT_EQ(vector_exp2(1e30f), infinity);
  EXPECT_EQ(vector_exp2(infinity), infinity);
  EXPECT_TRUE(std::isnan(vector_exp2(std::numeric_limits<float>::quiet_NaN())));
}

// bfloat16 stores round as the scalar type does: ties to even, NaN stays NaN.
TEST(CpuMath, BFloat16RoundsAsTheScalarType) {
  uint32_t bits = 0x12345u;
  for (int i = 0; i < 200000; ++i) {
    bits = bits * 1664525u + 1013904223u;
    const float f =
        std::bit_cast<float>(i % 3 ? bits : (bits & 0xffff0000u) | 0x8000u);  // every third: a tie
    bf16 lanes[cpu::kLanes];
    cpu::store(lanes, cpu::splat(f));
    ASSERT_EQ(lanes[0].bits, bf16(f).bits) << f;
  }
}

}  // namespace
}  // namespace imago
