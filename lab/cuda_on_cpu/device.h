// What CUDA C++ adds to C++, for a host compiler: keywords, threadIdx and friends, shared memory, barriers,
// warp intrinsics, atomics. Every thread of a block is a fiber that runs until it must wait; see emulator.h.
#pragma once

#include <cstdint>
#include <type_traits>

#include "lab/cuda_on_cpu/emulator.h"
#include "lab/cuda_on_cpu/vector_types.h"

#define __global__
#define __device__
#define __host__
#define __constant__
#define __managed__
#define __forceinline__ inline __attribute__((always_inline))
#define __launch_bounds__(...)
#define __grid_constant__
#define __align__(n) alignas(n)
// __shared__ itself has no host spelling that could be filled with NaN, fenced by red zones and addressed in
// 18 bits: kernels say IMAGO_SHARED and IMAGO_DYNAMIC_SHARED (kernels/cuda/device/launch.h).
#define __shared__ _Pragma("GCC error \"use IMAGO_SHARED(type, name, [extents])\"")

namespace imago::cuda_on_cpu {

// Plain variables, so that a debugger can evaluate them: break conv2d.cu:80 if threadIdx.x == 3
extern constinit thread_local uint3 threadIdx, blockIdx;
extern constinit thread_local dim3 blockDim, gridDim;
constexpr int warpSize = 32;

// ---- block barriers ----
inline void __syncthreads(SourceLine where = SourceLine::current()) {
  emu::sync_threads("__syncthreads", 0, where);
}
inline int __syncthreads_count(int p, SourceLine where = SourceLine::current()) {
  return emu::sync_threads("__syncthreads_count", p, where);
}
inline int __syncthreads_or(int p, SourceLine where = SourceLine::current()) {
  return emu::sync_threads("__syncthreads_or", p, where) != 0;
}
inline int __syncthreads_and(int p, SourceLine where = SourceLine::current()) {
  return emu::sync_threads("__syncthreads_and", !p, where) == 0;
}
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored \
    "-Wtsan"  // TSan does not see fences; the atomics beside them are enough for it
inline void __threadfence() {
  __atomic_thread_fence(__ATOMIC_SEQ_CST);
}
inline void __threadfence_block() {
  __atomic_thread_fence(__ATOMIC_SEQ_CST);
}
inline void __threadfence_system() {
  __atomic_thread_fence(__ATOMIC_SEQ_CST);
}
#pragma GCC diagnostic pop
inline void __nanosleep(unsigned) {
  emu::yield();
}

// ---- warp intrinsics ----
inline void __syncwarp(unsigned mask = ~0u, SourceLine where = SourceLine::current()) {
  emu::sync_warp(mask, where);
}

namespace emu {
/// Where lane `lane` of a segment of `width` lanes reads from, or itself when that leaves the segment.
inline int shuffle_source(int lane, int from, int width) {
  return from / width == lane / width && from >= 0 && from < 32 ? from : lane;
}
template <class T>
T shuffle(const char* op, unsigned mask, T value, int source, SourceLine where) {
  static_assert(sizeof(T) <= 16 && std::is_trivially_copyable_v<T>,
                "shuffles move 4 or 8 bytes; this one up to 16");
  T result;
  warp_shuffle(op, mask, &value, &result, sizeof(T), source, where);
  return result;
}
}  // namespace emu

template <class T>
T __shfl_sync(unsigned mask, T v, int from, int width = 32, SourceLine where = SourceLine::current()) {
  const int lane = emu::lane();
  return emu::shuffle("__shfl_sync", mask, v, (lane & ~(width - 1)) | (from & (width - 1)), where);
}
template <class T>
T __shfl_xor_sync(unsigned mask, T v, int lanes, int width = 32, SourceLine where = SourceLine::current()) {
  const int lane = emu::lane(), from = lane ^ lanes;
  // Unlike up and down, xor may read from an earlier segment; only later ones are out of reach.
  return emu::shuffle("__shfl_xor_sync", mask, v, from <= (lane | (width - 1)) ? from : lane, where);
}
template <class T>
T __shfl_up_sync(unsigned mask, T v, unsigned delta, int width = 32,
                 SourceLine where = SourceLine::current()) {
  const int lane = emu::lane();
  return emu::shuffle("__shfl_up_sync", mask, v, emu::shuffle_source(lane, lane - int(delta), width), where);
}
template <class T>
T __shfl_down_sync(unsigned mask, T v, unsigned delta, int width = 32,
                   SourceLine where = SourceLine::current()) {
  const int lane = emu::lane();
  return emu::shuffle("__shfl_down_sync", mask, v, emu::shuffle_source(lane, lane + int(delta), width),
                      where);
}
inline unsigned __ballot_sync(unsigned mask, int p, SourceLine where = SourceLine::current()) {
  return emu::warp_reduce("__ballot_sync", mask, p ? 1u << emu::lane() : 0, emu::WarpReduction::kOr, where);
}
inline int __any_sync(unsigned mask, int p, SourceLine where = SourceLine::current()) {
  return emu::warp_reduce("__any_sync", mask, p != 0, emu::WarpReduction::kOr, where) != 0;
}
inline int __all_sync(unsigned mask, int p, SourceLine where = SourceLine::current()) {
  return emu::warp_reduce("__all_sync", mask, p != 0, emu::WarpReduction::kAnd, where) != 0;
}
#define IMAGO_REDUCE(name, T, kind)                                                                \
  inline T name(unsigned mask, T v, SourceLine where = SourceLine::current()) {                    \
    return static_cast<T>(                                                                         \
        emu::warp_reduce(#name, mask, static_cast<unsigned>(v), emu::WarpReduction::kind, where)); \
  }
IMAGO_REDUCE(__reduce_add_sync, unsigned, kAdd)
IMAGO_REDUCE(__reduce_add_sync, int, kAdd)
IMAGO_REDUCE(__reduce_min_sync, unsigned, kMin)
IMAGO_REDUCE(__reduce_min_sync, int, kMinSigned)
IMAGO_REDUCE(__reduce_max_sync, unsigned, kMax)
IMAGO_REDUCE(__reduce_max_sync, int, kMaxSigned)
IMAGO_REDUCE(__reduce_and_sync, unsigned, kAnd)
IMAGO_REDUCE(__reduce_or_sync, unsigned, kOr)
IMAGO_REDUCE(__reduce_xor_sync, unsigned, kXor)
#undef IMAGO_REDUCE
template <class T>
unsigned __match_any_sync(unsigned mask, T v, SourceLine where = SourceLine::current()) {
  unsigned same = 0;
  for (int l = 0; l < 32; ++l)
    if (mask >> l & 1u) same |= unsigned(__shfl_sync(mask, v, l, 32, where) == v) << l;
  return same;
}

// ---- atomics ----
// Sequentially consistent, so that TSan takes a counter behind __threadfence() for the synchronization that
// it is.
namespace emu {
template <class T, class F>
T atomic_update(T* p, F f) {
  using Bits =
      std::conditional_t<sizeof(T) == 8, uint64_t, std::conditional_t<sizeof(T) == 4, uint32_t, uint16_t>>;
  atomic_point();
  auto* bits = reinterpret_cast<Bits*>(p);
  Bits seen = __atomic_load_n(bits, __ATOMIC_SEQ_CST), wanted;
  T old;
  do {
    __builtin_memcpy(&old, &seen, sizeof(T));
    const T next = f(old);
    __builtin_memcpy(&wanted, &next, sizeof(T));
  } while (!__atomic_compare_exchange_n(bits, &seen, wanted, false, __ATOMIC_SEQ_CST, __ATOMIC_SEQ_CST));
  return old;
}
}  // namespace emu
template <class T>
T atomicAdd(T* p, std::type_identity_t<T> v) {
  return emu::atomic_update(p, [=](T old) { return T(old + v); });
}
template <class T>
T atomicSub(T* p, std::type_identity_t<T> v) {
  return emu::atomic_update(p, [=](T old) { return T(old - v); });
}
template <class T>
T atomicMax(T* p, std::type_identity_t<T> v) {
  return emu::atomic_update(p, [=](T old) { return v > old ? v : old; });
}
template <class T>
T atomicMin(T* p, std::type_identity_t<T> v) {
  return emu::atomic_update(p, [=](T old) { return v < old ? v : old; });
}
template <class T>
T atomicAnd(T* p, std::type_identity_t<T> v) {
  return emu::atomic_update(p, [=](T old) { return T(old & v); });
}
template <class T>
T atomicOr(T* p, std::type_identity_t<T> v) {
  return emu::atomic_update(p, [=](T old) { return T(old | v); });
}
template <class T>
T atomicXor(T* p, std::type_identity_t<T> v) {
  return emu::atomic_update(p, [=](T old) { return T(old ^ v); });
}
template <class T>
T atomicExch(T* p, std::type_identity_t<T> v) {
  return emu::atomic_update(p, [=](T) { return v; });
}
template <class T>
T atomicCAS(T* p, std::type_identity_t<T> expected, std::type_identity_t<T> v) {
  return emu::atomic_update(p, [=](T old) { return old == expected ? v : old; });
}
inline unsigned atomicInc(unsigned* p, unsigned limit) {
  return emu::atomic_update(p, [=](unsigned old) { return old >= limit ? 0u : old + 1; });
}

}  // namespace imago::cuda_on_cpu
