// Elements as kernels see them: conversion to float32, sixteen bytes at a time where memory allows it, and
// division by numbers that the launcher knows.
#pragma once

#include <cstdint>

#include "kernels/cuda/device/launch.h"
#include "kernels/cuda/runtime/gpu_limits.h"
#include "kernels/dtype.h"
#include "kernels/error.h"

namespace imago::IMAGO_CUDA_NAMESPACE {

using namespace tiling;

__device__ __forceinline__ float to_float(float x) {
  return x;
}
__device__ __forceinline__ float to_float(__nv_bfloat16 x) {
  return __bfloat162float(x);
}
__device__ __forceinline__ float to_float(uint8_t x) {
  return static_cast<float>(x);
}

template <class T>
__device__ __forceinline__ T from_float(float x) {
  if constexpr (sizeof(T) == 2)
    return __float2bfloat16(x);  // to nearest, ties to even
  else
    return x;
}

/// v[0..7] = p[0..7]; p aligned to 16 bytes.
__device__ __forceinline__ void load8(const float* p, float (&v)[8]) {
  const float4 lo = *reinterpret_cast<const float4*>(p), hi = *reinterpret_cast<const float4*>(p + 4);
  v[0] = lo.x, v[1] = lo.y, v[2] = lo.z, v[3] = lo.w, v[4] = hi.x, v[5] = hi.y, v[6] = hi.z, v[7] = hi.w;
}
__device__ __forceinline__ void load8(const __nv_bfloat16* p, float (&v)[8]) {
  const uint4 bits = *reinterpret_cast<const uint4*>(p);
  const uint32_t pairs[4] = {bits.x, bits.y, bits.z, bits.w};
#pragma unroll
  for (int i = 0; i < 4; ++i) {
    v[2 * i] = __uint_as_float(pairs[i] << 16);  // a bfloat16 is the upper half of a float32
    v[2 * i + 1] = __uint_as_float(pairs[i] & 0xffff0000u);
  }
}
__device__ __forceinline__ void load8(const uint8_t* p, float (&v)[8]) {
  const uint2 bytes = *reinterpret_cast<const uint2*>(p);
#pragma unroll
  for (int i = 0; i < 4; ++i) {
    v[i] = static_cast<float>(bytes.x >> 8 * i & 0xffu);
    v[i + 4] = static_cast<float>(bytes.y >> 8 * i & 0xffu);
  }
}

/// p[0..7] = v[0..7]; p aligned to 16 bytes.
__device__ __forceinline__ void store8(float* p, const float (&v)[8]) {
  reinterpret_cast<float4*>(p)[0] = make_float4(v[0], v[1], v[2], v[3]);
  reinterpret_cast<float4*>(p)[1] = make_float4(v[4], v[5], v[6], v[7]);
}
__device__ __forceinline__ uint32_t pack2(float lo, float hi) {
  const uint32_t a = __bfloat16_as_ushort(__float2bfloat16(lo)),
                 b = __bfloat16_as_ushort(__float2bfloat16(hi));
  return a | b << 16;
}
__device__ __forceinline__ void store8(__nv_bfloat16* p, const float (&v)[8]) {
  *reinterpret_cast<uint4*>(p) =
      make_uint4(pack2(v[0], v[1]), pack2(v[2], v[3]), pack2(v[4], v[5]), pack2(v[6], v[7]));
}

/// The same to global memory in 16-byte instructions, whatever nvcc knows of p: a plain store to a pointer
/// that was selected from two it takes apart into stores of four bytes.
__device__ __forceinline__ void store8_global(float* p, const float (&v)[8]) {
  __stwb(reinterpret_cast<float4*>(p), make_float4(v[0], v[1], v[2], v[3]));
  __stwb(reinterpret_cast<float4*>(p) + 1, make_float4(v[4], v[5], v[6], v[7]));
}
__device__ __forceinline__ void store8_global(__nv_bfloat16* p, const float (&v)[8]) {
  __stwb(reinterpret_cast<uint4*>(p),
         make_uint4(pack2(v[0], v[1]), pack2(v[2], v[3]), pack2(v[4], v[5]), pack2(v[6], v[7])));
}

// Four neighbours, where eight would take too many registers.

/// v[0..3] = p[0..3]; p aligned to four elements.
__device__ __forceinline__ void load4(const float* p, float (&v)[4]) {
  const float4 f = *reinterpret_cast<const float4*>(p);
  v[0] = f.x, v[1] = f.y, v[2] = f.z, v[3] = f.w;
}
__device__ __forceinline__ void load4(const __nv_bfloat16* p, float (&v)[4]) {
  const uint2 bits = *reinterpret_cast<const uint2*>(p);
  v[0] = __uint_as_float(bits.x << 16), v[1] = __uint_as_float(bits.x & 0xffff0000u);
  v[2] = __uint_as_float(bits.y << 16), v[3] = __uint_as_float(bits.y & 0xffff0000u);
}

/// p[0..3] = v[0..3]; p aligned to four elements.
__device__ __forceinline__ void store4(float* p, const float (&v)[4]) {
  *reinterpret_cast<float4*>(p) = make_float4(v[0], v[1], v[2], v[3]);
}
__device__ __forceinline__ void store4(__nv_bfloat16* p, const float (&v)[4]) {
  *reinterpret_cast<uint2*>(p) = make_uint2(pack2(v[0], v[1]), pack2(v[2], v[3]));
}

/// The logistic function, s(x) = 1 / (1 + exp(-x)); 0 below -87, where exp(-x) comes near the end of float32.
/// __fdividef is a reciprocal and a product, wrong by two units in the last place at most; a division in
/// full precision branches to a subroutine, and its callers spill registers around the call.
__device__ __forceinline__ float sigmoid(float x) {
  return __fdividef(1.0f, 1.0f + expf(-x));
}

/// n / d for 0 <= n < 2^31 by a multiplication and a shift (Granlund & Montgomery 1994): the divisor is known
/// to the launcher, and an integer division costs a GPU some twenty instructions.
struct Divisor {
  uint32_t value = 1, magic = 1, shift = 0;

  Divisor() = default;
  explicit Divisor(int64_t d) : value(static_cast<uint32_t>(d)) {
    check(d >= 1 && d < (int64_t{1} << 31), "divisor ", d, " out of range");
    while ((uint64_t{1} << shift) < value) ++shift;
    magic = static_cast<uint32_t>(((uint64_t{1} << 32) * ((uint64_t{1} << shift) - value)) / value + 1);
  }
  __device__ __forceinline__ int divide(int n) const {
    return static_cast<int>((__umulhi(magic, static_cast<uint32_t>(n)) + static_cast<uint32_t>(n)) >> shift);
  }
  /// n = quotient * d + rest
  __device__ __forceinline__ void split(int n, int& quotient, int& rest) const {
    quotient = divide(n);
    rest = n - quotient * static_cast<int>(value);
  }
};

/// Blocks of `block` threads that hold `threads` threads.
inline unsigned blocks_for(int64_t threads, int block) {
  const int64_t blocks = (threads + block - 1) / block;
  check(blocks < (int64_t{1} << 31), "a launch of ", threads, " threads is more than a grid can hold");
  return static_cast<unsigned>(blocks);
}

/// f(T()) with the kernels' type of a float32 or bfloat16 tensor.
template <class F>
void dispatch_float(DType dtype, const char* op, F&& f) {
  if (dtype == DType::kFloat32)
    f(float());
  else if (dtype == DType::kBFloat16)
    f(__nv_bfloat16());
  else
    failure(op, " on CUDA: float32 or bfloat16 expected, got ", dtype);
}

}  // namespace imago::IMAGO_CUDA_NAMESPACE
