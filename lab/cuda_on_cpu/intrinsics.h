// CUDA's scalar device functions: fast math, rounding-mode arithmetic, bit tricks, cached loads and
// stores. The fast-math ones are the exact host functions: the hardware's are a few ulp off, so
// tolerances must allow for that.
#pragma once

#include <algorithm>
#include <bit>
#include <cmath>
#include <cstdint>
#include <type_traits>

#include "lab/cuda_on_cpu/toolkit/cuda_bf16.h"

namespace imago::cuda_on_cpu {

// min and max of mixed integer types follow CUDA: the common type decides. NaN loses, as in fminf.
template <class A, class B>
constexpr auto min(A a, B b) {
  using T = std::common_type_t<A, B>;
  if constexpr (std::is_floating_point_v<T>)
    return static_cast<T>(std::fmin(T(a), T(b)));
  else
    return T(b) < T(a) ? T(b) : T(a);
}
template <class A, class B>
constexpr auto max(A a, B b) {
  using T = std::common_type_t<A, B>;
  if constexpr (std::is_floating_point_v<T>)
    return static_cast<T>(std::fmax(T(a), T(b)));
  else
    return T(a) < T(b) ? T(b) : T(a);
}

inline float rsqrtf(float x) {
  return 1.0f / std::sqrt(x);
}
inline double rsqrt(double x) {
  return 1.0 / std::sqrt(x);
}
inline float __frsqrt_rn(float x) {
  return static_cast<float>(1.0 / std::sqrt(double(x)));
}
inline float __fsqrt_rn(float x) {
  return std::sqrt(x);
}
inline float __frcp_rn(float x) {
  return 1.0f / x;
}
inline float __fdividef(float a, float b) {
  return a / b;
}
inline float __fdiv_rn(float a, float b) {
  return a / b;
}
inline float __expf(float x) {
  return std::exp(x);
}
inline float __exp10f(float x) {
  return std::pow(10.0f, x);
}
inline float __logf(float x) {
  return std::log(x);
}
inline float __log2f(float x) {
  return std::log2(x);
}
inline float __powf(float x, float y) {
  return std::pow(x, y);
}
inline float __sinf(float x) {
  return std::sin(x);
}
inline float __cosf(float x) {
  return std::cos(x);
}
inline float __tanf(float x) {
  return std::tan(x);
}
inline void __sincosf(float x, float* s, float* c) {
  *s = std::sin(x), *c = std::cos(x);
}
inline float __saturatef(float x) {
  return std::fmin(std::fmax(x, 0.0f), 1.0f);
}
inline void sincospif(float x, float* s, float* c) {
  const double a = M_PI * std::fmod(double(x), 2.0);
  *s = static_cast<float>(std::sin(a)), *c = static_cast<float>(std::cos(a));
}

// The _rn forms promise that the compiler does not contract them into an fma. The barrier makes it so
// here as well.
namespace detail {
template <class T>
inline T uncontracted(T x) {
  asm volatile("" : "+m"(x));
  return x;
}
}  // namespace detail
inline float __fmul_rn(float a, float b) {
  return detail::uncontracted(a * b);
}
inline float __fadd_rn(float a, float b) {
  return detail::uncontracted(a) + detail::uncontracted(b);
}
inline float __fsub_rn(float a, float b) {
  return detail::uncontracted(a) - detail::uncontracted(b);
}
inline float __fmaf_rn(float a, float b, float c) {
  return std::fma(a, b, c);
}
inline double __dmul_rn(double a, double b) {
  return detail::uncontracted(a * b);
}
inline double __dadd_rn(double a, double b) {
  return detail::uncontracted(a) + detail::uncontracted(b);
}
inline double __fma_rn(double a, double b, double c) {
  return std::fma(a, b, c);
}

inline int __float_as_int(float f) {
  return std::bit_cast<int>(f);
}
inline unsigned __float_as_uint(float f) {
  return std::bit_cast<unsigned>(f);
}
inline float __int_as_float(int i) {
  return std::bit_cast<float>(i);
}
inline float __uint_as_float(unsigned i) {
  return std::bit_cast<float>(i);
}
inline long long __double_as_longlong(double d) {
  return std::bit_cast<long long>(d);
}
inline double __longlong_as_double(long long i) {
  return std::bit_cast<double>(i);
}
inline int __float2int_rn(float f) {
  return static_cast<int>(std::nearbyint(f));
}
inline int __float2int_rz(float f) {
  return static_cast<int>(f);
}
inline int __float2int_rd(float f) {
  return static_cast<int>(std::floor(f));
}
inline int __float2int_ru(float f) {
  return static_cast<int>(std::ceil(f));
}
inline unsigned __float2uint_rn(float f) {
  return static_cast<unsigned>(std::nearbyint(f));
}
inline float __int2float_rn(int i) {
  return static_cast<float>(i);
}
inline float __uint2float_rn(unsigned i) {
  return static_cast<float>(i);
}
inline unsigned __umulhi(unsigned a, unsigned b) {
  return static_cast<unsigned>((uint64_t(a) * b) >> 32);
}
inline int __mulhi(int a, int b) {
  return static_cast<int>((int64_t(a) * b) >> 32);
}
inline unsigned long long __umul64hi(unsigned long long a, unsigned long long b) {
  return static_cast<unsigned long long>((static_cast<unsigned __int128>(a) * b) >> 64);
}
inline int __popc(unsigned x) {
  return std::popcount(x);
}
inline int __popcll(unsigned long long x) {
  return std::popcount(x);
}
inline int __clz(int x) {
  return std::countl_zero(static_cast<unsigned>(x));
}
inline int __clzll(long long x) {
  return std::countl_zero(static_cast<unsigned long long>(x));
}
inline int __ffs(int x) {
  return __builtin_ffs(x);
}
inline int __ffsll(long long x) {
  return __builtin_ffsll(x);
}
inline unsigned __brev(unsigned x) {
  unsigned r = 0;
  for (int i = 0; i < 32; ++i) r |= (x >> i & 1u) << (31 - i);
  return r;
}
inline unsigned __funnelshift_l(unsigned lo, unsigned hi, unsigned n) {
  return static_cast<unsigned>(((uint64_t(hi) << 32 | lo) << (n & 31)) >> 32);
}
inline unsigned __funnelshift_r(unsigned lo, unsigned hi, unsigned n) {
  return static_cast<unsigned>((uint64_t(hi) << 32 | lo) >> (n & 31));
}
inline unsigned __byte_perm(unsigned a, unsigned b, unsigned selector) {  // without the sign-replicating mode
  const uint64_t bytes = uint64_t(b) << 32 | a;
  unsigned r = 0;
  for (int i = 0; i < 4; ++i)
    r |= static_cast<unsigned>(bytes >> 8 * (selector >> 4 * i & 7) & 0xff) << 8 * i;
  return r;
}

// Cache hints: plain loads and stores.
#define IMAGO_LOAD(name)                                     \
  template <class T>                                         \
  inline __attribute__((always_inline)) T name(const T* p) { \
    return *p;                                               \
  }
#define IMAGO_STORE(name)                                                            \
  template <class T>                                                                 \
  inline __attribute__((always_inline)) void name(T* p, std::type_identity_t<T> v) { \
    *p = v;                                                                          \
  }
IMAGO_LOAD(__ldg)
IMAGO_LOAD(__ldca)
IMAGO_LOAD(__ldcg)
IMAGO_LOAD(__ldcs)
IMAGO_LOAD(__ldlu)
IMAGO_LOAD(__ldcv) IMAGO_STORE(__stwb) IMAGO_STORE(__stcg) IMAGO_STORE(__stcs) IMAGO_STORE(__stwt)
#undef IMAGO_LOAD
#undef IMAGO_STORE

}  // namespace imago::cuda_on_cpu
