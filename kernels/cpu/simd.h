// One vector register of floats, and how elements get in and out of it.
//
// Vec is a GCC/Clang vector: + - * / and comparisons work lane by lane, a * b + c becomes one FMA, and the
// compiler maps it to AVX2 (8 lanes), AVX-512 (16) or whatever the target has. Activations are float32 or
// bfloat16; arithmetic is always float32: load() widens, store() rounds to nearest even.
#pragma once

#if defined(__AVX__)
#include <immintrin.h>
#endif

#include <cstdint>
#include <cstring>
#include <utility>

#include "kernels/dtype.h"

namespace imago::cpu {

#if defined(__AVX512F__)
inline constexpr int kLanes = 16;
#else
inline constexpr int kLanes = 8;
#endif

typedef float Vec __attribute__((vector_size(kLanes * sizeof(float))));
typedef int32_t VecI __attribute__((vector_size(kLanes * sizeof(int32_t))));
typedef uint32_t VecU __attribute__((vector_size(kLanes * sizeof(uint32_t))));
typedef uint16_t VecH __attribute__((vector_size(kLanes * sizeof(uint16_t))));

inline Vec splat(float f) {
  return f - Vec{};
}
/// The larger (smaller) of two; b where one of them is NaN. GCC makes one instruction of a > b ? a : b, but
/// not where a or b is a constant.
inline Vec maximum(Vec a, Vec b) {
#if defined(__AVX512F__)
  return _mm512_maskz_max_ps(0xffff, a, b);
#elif defined(__AVX__)
  return _mm256_max_ps(a, b);
#else
  return a > b ? a : b;
#endif
}
inline Vec minimum(Vec a, Vec b) {
#if defined(__AVX512F__)
  return _mm512_maskz_min_ps(0xffff, a, b);
#elif defined(__AVX__)
  return _mm256_min_ps(a, b);
#else
  return a < b ? a : b;
#endif
}

inline Vec load(const float* p) {
  Vec v;
  std::memcpy(&v, p, sizeof v);
  return v;
}
inline void store(float* p, Vec v) {
  std::memcpy(p, &v, sizeof v);
}

/// bfloat16 is the upper half of a float32, so widening is a shift.
inline Vec load(const bf16* p) {
  VecH h;
  std::memcpy(&h, p, sizeof h);
  return (Vec)(__builtin_convertvector(h, VecU) << 16);
}
inline void store(bf16* p, Vec v) {
  const VecU u = (VecU)v;
  const VecU rounded = (u + 0x7fffu + ((u >> 16) & 1u)) >> 16;
  const VecI nan = v != v;
  const VecU bits = nan ? ((u >> 16) | 0x40u) : rounded;
  const VecH h = __builtin_convertvector(bits, VecH);
  std::memcpy(p, &h, sizeof h);
}

/// The first n lanes; the others are zero (not touched).
template <class T>
inline Vec load_part(const T* p, int64_t n) {
  T lanes[kLanes] = {};
  std::memcpy(lanes, p, static_cast<size_t>(n) * sizeof(T));
  return load(lanes);
}
template <class T>
inline void store_part(T* p, Vec v, int64_t n) {
  T lanes[kLanes];
  store(lanes, v);
  std::memcpy(p, lanes, static_cast<size_t>(n) * sizeof(T));
}
template <class T>
inline Vec load_up_to(const T* p, int64_t n) {
  return n >= kLanes ? load(p) : load_part(p, n);
}
template <class T>
inline void store_up_to(T* p, Vec v, int64_t n) {
  if (n >= kLanes) {
    store(p, v);
  } else {
    store_part(p, v, n);
  }
}

/// Exchanges rows and lanes of a square block: log2(kLanes) rounds, each swapping blocks of half the size.
template <int kHalf = kLanes / 2>
inline void transpose(Vec (&x)[kLanes]) {
  const auto exchange = []<int... i>(Vec & a, Vec & b, std::integer_sequence<int, i...>) {
    const Vec low = __builtin_shufflevector(a, b, (i & kHalf ? kLanes + i - kHalf : i)...);
    b = __builtin_shufflevector(a, b, (i & kHalf ? kLanes + i : i + kHalf)...);
    a = low;
  };
#pragma GCC unroll 16
  for (int i = 0; i < kLanes; ++i) {
    if (!(i & kHalf)) exchange(x[i], x[i + kHalf], std::make_integer_sequence<int, kLanes>());
  }
  if constexpr (kHalf > 1) transpose<kHalf / 2>(x);
}

/// Sums and maxima over the lanes, by halving: a fixed order.
inline float sum_of(Vec v) {
  float lanes[kLanes];
  store(lanes, v);
  for (int width = kLanes / 2; width > 0; width /= 2) {
    for (int i = 0; i < width; ++i) lanes[i] += lanes[i + width];
  }
  return lanes[0];
}
inline float max_of(Vec v) {
  float lanes[kLanes];
  store(lanes, v);
  float m = lanes[0];
  for (int i = 1; i < kLanes; ++i) m = m > lanes[i] ? m : lanes[i];
  return m;
}

}  // namespace imago::cpu
