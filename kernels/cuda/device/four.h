// Four neighbours at a time, where eight (vec.h) would take too many registers.
#pragma once

#include "kernels/cuda/device/vec.h"

namespace imago::IMAGO_CUDA_NAMESPACE {

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

}  // namespace imago::IMAGO_CUDA_NAMESPACE
