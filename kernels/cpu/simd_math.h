// exp and the functions made of it, on whole vectors, without a branch or a table.
#pragma once

#include "kernels/cpu/simd.h"

namespace imago::cpu {

inline constexpr float kExpLowest = -87.33f, kExpHighest = 88.37f;

/// e^x. k = round(x / ln 2) leaves r = x - k ln 2 in [-ln2/2, ln2/2] (ln 2 in two parts, so that r is
/// exact to rounding); e^r by a polynomial of degree 6 (Taylor's, its last coefficients shifted to even
/// out the error); 2^k goes in through the exponent bits. Relative error at most 2^-22.9 (measured over
/// all exponents, tests/kernels/cpu/simd_math_test.cpp); 0 below -87.33 (e^x would be subnormal), infinity
/// above 88.37, NaN stays NaN.
inline Vec exp(Vec x) {
  // 1.5 * 2^23: adding it rounds to a whole number in the low mantissa bits.
  const float kMagic = 12582912.0f;
  const Vec t = x * 1.44269504f + kMagic;
  const Vec k = t - kMagic;
  const Vec r = (x - k * 0.693359375f) - k * -2.12194440e-4f;
  Vec p = splat(1.9875691500e-4f);
  p = p * r + 1.3981999507e-3f;
  p = p * r + 8.3334519073e-3f;
  p = p * r + 4.1665795894e-2f;
  p = p * r + 1.6666665459e-1f;
  p = p * r + 5.0000001201e-1f;
  p = p * (r * r) + (r + 1.0f);
  const VecU power = ((VecU)t + 127u) << 23;  // the low bits of t are k; the rest is shifted out
  Vec y = p * (Vec)power;
  y = x < kExpLowest ? Vec{} : y;
  return x > kExpHighest ? splat(__builtin_inff()) : y;
}

/// s(x) = 1 / (1 + e^-x)
inline Vec sigmoid(Vec x) {
  return 1.0f / (1.0f + exp(-x));
}

/// silu(x) = x s(x)
inline Vec silu(Vec x) {
  return x / (1.0f + exp(-x));
}

/// silu'(x) = s (1 + x (1 - s))
inline Vec silu_derivative(Vec x) {
  const Vec s = sigmoid(x);
  return s * (1.0f + x * (1.0f - s));
}

}  // namespace imago::cpu
