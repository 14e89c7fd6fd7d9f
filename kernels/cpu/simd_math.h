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

/// 2^x = 2^k 2^r with k = round(x), and 2^r on [-1/2, 1/2] by a polynomial of degree 6 that is 1 at 0
/// (minimax, relative error 2.6e-9). Less work than exp, which has ln 2 to divide out: a softmax scales its
/// scores by log2 e and takes this. Relative error at most 2^-22.9 (measured, as above); 0 below -126.5,
/// infinity from 127.5, NaN stays NaN. A chain of 13 instructions, so several vectors take turns at it.
template <int kCount>
inline void exp2(Vec (&x)[kCount]) {
  const float kMagic = 12582912.0f;
  Vec t[kCount], p[kCount];
  for (int i = 0; i < kCount; ++i) x[i] = minimum(splat(128.0f), maximum(splat(-127.0f), x[i]));
  for (int i = 0; i < kCount; ++i) t[i] = x[i] + kMagic;
  for (int i = 0; i < kCount; ++i) x[i] -= t[i] - kMagic;
  for (int i = 0; i < kCount; ++i) p[i] = x[i] * 1.5594678e-4f + 1.3406644e-3f;
  for (const float c : {9.6176930e-3f, 5.5503106e-2f, 2.4022653e-1f, 6.9314721e-1f, 1.0f}) {
    for (int i = 0; i < kCount; ++i) p[i] = p[i] * x[i] + c;
  }
  for (int i = 0; i < kCount; ++i) x[i] = p[i] * (Vec)(((VecU)t[i] + 127u) << 23);
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
