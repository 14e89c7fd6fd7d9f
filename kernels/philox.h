// Random numbers as a function of where they are used: Philox 4x32-10 and what is made of its bits.
//
// A number is never "the next one" of a generator with a state. It is value = f(seed, stream, id, element):
//   seed     the run's seed, 64 bits;
//   stream   what the numbers are for: noise, timesteps, dropout of layer 7, ...;
//   id       which image they belong to (a sample's own number, wherever it sits in a batch);
//   element  which element of that image.
// So an image gets the same noise on a CPU and on a GPU, alone or in any batch, on any number of threads.
//
// Philox (Salmon, Moraes, Dror, Shaw 2011, "Parallel random numbers: as easy as 1, 2, 3", section 3.3) maps a
// 128-bit counter under a 64-bit key to 128 random bits: four words, hence four elements ("a quad") a call:
//   counter = {quad, id low, id high, stream},  key = {seed low, seed high},  element = 4 quad + lane.
//
// The same bits everywhere. Integer arithmetic is exact on every machine, floating point is only if nobody
// may choose a rounding. A compiler may turn a*b + c into one fused instruction (one rounding) or leave it as
// two (two roundings): g++ does so with -march=native, nvcc by default, g++ without FMA cannot. Therefore
// every multiply-add below is spelled fmaf, and no product is ever an operand of a plain + or -: nothing is
// left to contract. log, sin and cos are our own polynomials, since two libraries' would differ in the last
// bit; square root is exactly rounded by IEEE 754. tests/kernels/philox_test.cpp pins the bits.
//
// No function here branches or looks anything up, so loops over quads vectorise.
#pragma once

#include <bit>
#include <cmath>
#include <cstdint>

#ifdef __CUDACC__
#define IMAGO_HOST_DEVICE __host__ __device__
#else
#define IMAGO_HOST_DEVICE
#endif

namespace imago {

/// Four random words.
struct PhiloxWords {
  uint32_t w0, w1, w2, w3;
};

/// Four floats, of elements 4 quad + 0 .. 3.
struct FloatQuad {
  float v0, v1, v2, v3;
  IMAGO_HOST_DEVICE float operator[](int lane) const {
    return lane == 0 ? v0 : lane == 1 ? v1 : lane == 2 ? v2 : v3;
  }
};

/// The bijection itself: ten rounds of two 32x32 -> 64 bit products. `counter` and `key` are as in the paper.
IMAGO_HOST_DEVICE inline PhiloxWords philox_4x32_10(PhiloxWords counter, uint32_t key0, uint32_t key1) {
  for (int round = 0; round < 10; ++round) {
    const uint64_t p0 = uint64_t{0xD2511F53u} * counter.w0;
    const uint64_t p1 = uint64_t{0xCD9E8D57u} * counter.w2;
    counter = {static_cast<uint32_t>(p1 >> 32) ^ counter.w1 ^ key0, static_cast<uint32_t>(p1),
               static_cast<uint32_t>(p0 >> 32) ^ counter.w3 ^ key1, static_cast<uint32_t>(p0)};
    key0 += 0x9E3779B9u;  // the golden ratio
    key1 += 0xBB67AE85u;  // sqrt(3) - 1
  }
  return counter;
}

/// The random bits of one quad of one image.
IMAGO_HOST_DEVICE inline PhiloxWords random_words(uint64_t seed, uint32_t stream, int64_t id, uint32_t quad) {
  const uint64_t u = static_cast<uint64_t>(id);
  return philox_4x32_10({quad, static_cast<uint32_t>(u), static_cast<uint32_t>(u >> 32), stream},
                        static_cast<uint32_t>(seed), static_cast<uint32_t>(seed >> 32));
}

/// One word to a float: its upper 24 bits over 2^24, so every value in [0,1) is exact.
IMAGO_HOST_DEVICE inline float word_to_uniform(uint32_t w) {
  return static_cast<float>(static_cast<int32_t>(w >> 8)) * 0x1p-24f;
}

namespace philox_detail {

IMAGO_HOST_DEVICE inline float float_of(uint32_t bits) {
#ifdef __CUDA_ARCH__
  return __uint_as_float(bits);
#else
  return std::bit_cast<float>(bits);
#endif
}

IMAGO_HOST_DEVICE inline uint32_t bits_of(float f) {
#ifdef __CUDA_ARCH__
  return __float_as_uint(f);
#else
  return std::bit_cast<uint32_t>(f);
#endif
}

IMAGO_HOST_DEVICE inline float square_root(float x) {
#ifdef __CUDA_ARCH__
  return __fsqrt_rn(x);  // exactly rounded, whatever -prec-sqrt says
#else
  return std::sqrt(x);
#endif
}

/// ln u for a normal u > 0: u = m 2^e with m in [sqrt(1/2), sqrt(2)), f = m - 1 (exact),
/// ln u = e ln 2 + f + f^2 Q(f). Q: minimax, error 0.07 * 2^-24 of ln m. In all within 3.1 * 2^-24 of ln u.
IMAGO_HOST_DEVICE inline float log_of(float u) {
  const uint32_t shifted = bits_of(u) - 0x3f3504f3u;  // bits of sqrt(1/2): the exponent steps there
  const float e = static_cast<float>(static_cast<int32_t>(shifted) >> 23);
  const float f = float_of((shifted & 0x007fffffu) + 0x3f3504f3u) - 1.0f;
  float q = -0.07622109f;
  q = fmaf(q, f, 0.1290469f);
  q = fmaf(q, f, -0.13242976f);
  q = fmaf(q, f, 0.1418178f);
  q = fmaf(q, f, -0.16609077f);
  q = fmaf(q, f, 0.20001976f);
  q = fmaf(q, f, -0.25001583f);
  q = fmaf(q, f, 0.33333325f);
  q = fmaf(q, f, -0.49999988f);
  return fmaf(e, 0.69314718f, fmaf(f * f, q, f));
}

struct SinCos {
  float sin, cos;
};

/// sin and cos of the angle 2 pi w / 2^32. The nearest quarter turn is taken off in integers, without
/// rounding; what is left, t in [-pi/4, pi/4], goes into sin t = t + t^3 S(t^2), cos t = 1 - t^2/2 + t^4
/// C(t^2) (minimax, errors 0.06 and 0.002 * 2^-24). Both within 2.4 * 2^-24.
IMAGO_HOST_DEVICE inline SinCos sincos_of_turn(uint32_t w) {
  const uint32_t quarter = (w + 0x20000000u) >> 30;  // 0 .. 4, of which the lower two bits count
  const float t = static_cast<float>(static_cast<int32_t>(w - (quarter << 30))) * 1.4629180792671596e-9f;
  const float t2 = t * t;
  const float s = fmaf(t * t2, fmaf(fmaf(-0.000195173f, t2, 0.008332178f), t2, -0.16666655f), t);
  const float c4 = fmaf(fmaf(2.4438452e-05f, t2, -0.0013887368f), t2, 0.041666646f);
  const float c = fmaf(t2, fmaf(c4, t2, -0.5f), 1.0f);
  // Quarter 0: (s, c); 1: (c, -s); 2: (-s, -c); 3: (-c, s). Masks and sign bits instead of branches.
  const uint32_t swap = 0u - (quarter & 1u);
  const uint32_t sin_sign = (quarter & 2u) << 30, cos_sign = ((quarter + 1u) & 2u) << 30;
  const uint32_t sb = bits_of(s), cb = bits_of(c);
  return {float_of(((sb & ~swap) | (cb & swap)) ^ sin_sign),
          float_of(((cb & ~swap) | (sb & swap)) ^ cos_sign)};
}

struct FloatPair {
  float first, second;
};

/// Box and Muller 1958: r = sqrt(-2 ln u), z = r cos(2 pi v), r sin(2 pi v) are two independent N(0,1).
/// u = (k + 1/2) / 2^31 from 31 bits (rounded to a float in (0,1], so |z| <= 6.67), v from all 32 bits of w1.
/// |z - exact| <= 6 * 2^-24 r, at most 2.4e-6; worst of half a million measured: 8.5e-7.
IMAGO_HOST_DEVICE inline FloatPair box_muller(uint32_t w0, uint32_t w1) {
  const float u = fmaf(static_cast<float>(static_cast<int32_t>(w0 >> 1)), 0x1p-31f, 0x1p-32f);
  const float r = square_root(-2.0f * log_of(u));
  const SinCos angle = sincos_of_turn(w1);
  return {r * angle.cos, r * angle.sin};
}

}  // namespace philox_detail

/// Uniform numbers in [0,1) for elements 4 quad .. 4 quad + 3.
IMAGO_HOST_DEVICE inline FloatQuad uniform_quad(uint64_t seed, uint32_t stream, int64_t id, uint32_t quad) {
  const PhiloxWords w = random_words(seed, stream, id, quad);
  return {word_to_uniform(w.w0), word_to_uniform(w.w1), word_to_uniform(w.w2), word_to_uniform(w.w3)};
}

/// N(0,1) numbers for elements 4 quad .. 4 quad + 3.
IMAGO_HOST_DEVICE inline FloatQuad normal_quad(uint64_t seed, uint32_t stream, int64_t id, uint32_t quad) {
  const PhiloxWords w = random_words(seed, stream, id, quad);
  const philox_detail::FloatPair a = philox_detail::box_muller(w.w0, w.w1);
  const philox_detail::FloatPair b = philox_detail::box_muller(w.w2, w.w3);
  return {a.first, a.second, b.first, b.second};
}

/// One element at a time: four times the work of a quad, for tails and for tests.
IMAGO_HOST_DEVICE inline float uniform_at(uint64_t seed, uint32_t stream, int64_t id, int64_t element) {
  return uniform_quad(seed, stream, id, static_cast<uint32_t>(element >> 2))[static_cast<int>(element & 3)];
}
IMAGO_HOST_DEVICE inline float normal_at(uint64_t seed, uint32_t stream, int64_t id, int64_t element) {
  return normal_quad(seed, stream, id, static_cast<uint32_t>(element >> 2))[static_cast<int>(element & 3)];
}

/// A whole number in 0 .. n-1 (n >= 1): the upper part of 64 random bits times n (Lemire 2019, without the
/// rejection). Every outcome's probability is 1/n within 2^-64. For timesteps (id = image, index = 0) and
/// shuffles (id = epoch, index = position): index has a quad of its own.
IMAGO_HOST_DEVICE inline uint32_t uniform_below(uint32_t n, uint64_t seed, uint32_t stream, int64_t id,
                                                uint32_t index) {
  const PhiloxWords w = random_words(seed, stream, id, index);
  const uint64_t high = uint64_t{w.w1} * n, low = uint64_t{w.w0} * n;
  return static_cast<uint32_t>((high + (low >> 32)) >> 32);
}

}  // namespace imago
