// Every PTX instruction that the kernels use by name, each with two bodies: inline assembly for the device,
// the emulator's function for the host. This is the only file with inline PTX; wgmma is in ptx_wgmma.h, which
// this file includes. Source: NVIDIA, "Parallel Thread Execution ISA", sections 9.7.9 (data movement), 9.7.13
// (barriers), 9.7.14 to 9.7.15 (mma).
//
// Host bodies take where they were called from, so that a report names the kernel's line and not this file's.
#pragma once

#include <cstdint>

#include "kernels/cuda/device/launch.h"

// With IMAGO_BOUNDED_WAITS (an option of CMake's) a GPU's waits for mbarriers end, and say so; the emulator's
// do without: it knows when nobody can run any more.
#if defined(__CUDACC__) && defined(IMAGO_BOUNDED_WAITS)
#include <cstdio>
#endif

#ifdef __CUDACC__
#define IMAGO_PTX static __device__ __forceinline__
#define IMAGO_WHERE
#define IMAGO_WHERE_ONLY
#define IMAGO_ON_DEVICE(...) __VA_ARGS__
#define IMAGO_ON_HOST(...)
#else
#define IMAGO_PTX static inline __attribute__((always_inline, unused))
#define IMAGO_WHERE , [[maybe_unused]] SourceLine where = SourceLine::current()
#define IMAGO_WHERE_ONLY [[maybe_unused]] SourceLine where = SourceLine::current()
#define IMAGO_ON_DEVICE(...)
#define IMAGO_ON_HOST(...) __VA_ARGS__
#endif

#include "kernels/cuda/device/tensor_map.h"

namespace imago::IMAGO_CUDA_NAMESPACE::ptx {

/// Address of a byte of shared memory as 32-bit operands and descriptors want it.
IMAGO_PTX uint32_t shared_address(const void* p) {
  IMAGO_ON_DEVICE(return static_cast<uint32_t>(__cvta_generic_to_shared(p));)
  IMAGO_ON_HOST(return emu::shared_address(p);)
}

// ---- clocks ----
/// The multiprocessor's cycles.
IMAGO_PTX uint64_t clock_cycles() {
  IMAGO_ON_DEVICE(uint64_t t; asm volatile("mov.u64 %0, %clock64;" : "=l"(t)); return t;)
  IMAGO_ON_HOST(return emu::nanoseconds();)
}
/// Of a clock that all multiprocessors share; it may advance in steps of a microsecond.
IMAGO_PTX uint64_t global_nanoseconds() {
  IMAGO_ON_DEVICE(uint64_t ns; asm volatile("mov.u64 %0, %globaltimer;" : "=l"(ns)); return ns;)
  IMAGO_ON_HOST(return emu::nanoseconds();)
}

// ---- matrix fragments (sm_80) ----
// Lane l = 4 g + t. Fragment of an 8x8 matrix of 16-bit elements: the lane holds (g, 2t) in the low half and
// (g, 2t+1) in the high one; transposed: (2t, g) and (2t+1, g).

/// Four 8x8 matrices from shared memory; lane l gives the address, aligned to 16 bytes, of row l % 8 of
/// matrix l / 8.
template <bool kTransposed = false>
IMAGO_PTX void ldmatrix_x4(uint32_t (&r)[4], const void* row IMAGO_WHERE) {
#ifdef __CUDACC__
  if constexpr (kTransposed)
    asm volatile("ldmatrix.sync.aligned.m8n8.x4.trans.shared.b16 {%0,%1,%2,%3}, [%4];"
                 : "=r"(r[0]), "=r"(r[1]), "=r"(r[2]), "=r"(r[3])
                 : "r"(shared_address(row))
                 : "memory");
  else
    asm volatile("ldmatrix.sync.aligned.m8n8.x4.shared.b16 {%0,%1,%2,%3}, [%4];"
                 : "=r"(r[0]), "=r"(r[1]), "=r"(r[2]), "=r"(r[3])
                 : "r"(shared_address(row))
                 : "memory");
#else
  emu::check_row("ldmatrix", row, where);
  const uint4 v =
      *static_cast<const uint4*>(row);  // the lane's own access, for sanitizers and the trace to see
  emu::load_matrix(4, kTransposed, &v.x, r, where);
#endif
}

/// Two matrices; lanes 0 to 15 give the rows.
template <bool kTransposed = false>
IMAGO_PTX void ldmatrix_x2(uint32_t (&r)[2], const void* row IMAGO_WHERE) {
#ifdef __CUDACC__
  if constexpr (kTransposed)
    asm volatile("ldmatrix.sync.aligned.m8n8.x2.trans.shared.b16 {%0,%1}, [%2];"
                 : "=r"(r[0]), "=r"(r[1])
                 : "r"(shared_address(row))
                 : "memory");
  else
    asm volatile("ldmatrix.sync.aligned.m8n8.x2.shared.b16 {%0,%1}, [%2];"
                 : "=r"(r[0]), "=r"(r[1])
                 : "r"(shared_address(row))
                 : "memory");
#else
  uint4 v{};
  if (emu::lane() < 16) {
    emu::check_row("ldmatrix", row, where);
    v = *static_cast<const uint4*>(row);
  }
  emu::load_matrix(2, kTransposed, &v.x, r, where);
#endif
}

/// Four 8x8 matrices to shared memory, addressed as for ldmatrix_x4. sm_90.
template <bool kTransposed = false>
IMAGO_PTX void stmatrix_x4(void* row, const uint32_t (&r)[4] IMAGO_WHERE) {
#ifdef __CUDACC__
  if constexpr (kTransposed)
    asm volatile(
        "stmatrix.sync.aligned.m8n8.x4.trans.shared.b16 [%0], {%1,%2,%3,%4};" ::"r"(shared_address(row)),
        "r"(r[0]), "r"(r[1]), "r"(r[2]), "r"(r[3])
        : "memory");
  else
    asm volatile("stmatrix.sync.aligned.m8n8.x4.shared.b16 [%0], {%1,%2,%3,%4};" ::"r"(shared_address(row)),
                 "r"(r[0]), "r"(r[1]), "r"(r[2]), "r"(r[3])
                 : "memory");
#else
  emu::check_row("stmatrix", row, where);
  uint4 v{};
  emu::store_matrix(4, kTransposed, r, &v.x, where);
  *static_cast<uint4*>(row) = v;
#endif
}

/// D (16x8, float32) += A (16x16) B (16x8), bfloat16. A in row fragments {rows 0-7, rows 8-15} x {k 0-7, k
/// 8-15}: a[0] = (g, 2t), a[1] = (g+8, 2t), a[2] = (g, 2t+8), a[3] = (g+8, 2t+8); b[0] = (2t, g), b[1] =
/// (2t+8, g); d[0], d[1] = (g, 2t), (g, 2t+1); d[2], d[3] = the same of row g+8.
IMAGO_PTX void mma_m16n8k16_bf16(float (&d)[4], const uint32_t (&a)[4], const uint32_t (&b)[2] IMAGO_WHERE) {
  IMAGO_ON_DEVICE(asm volatile("mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32 {%0,%1,%2,%3}, "
                               "{%4,%5,%6,%7}, {%8,%9}, {%0,%1,%2,%3};"
                               : "+f"(d[0]), "+f"(d[1]), "+f"(d[2]), "+f"(d[3])
                               : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b[0]), "r"(b[1]));)
  IMAGO_ON_HOST(emu::mma_m16n8k16_bf16(d, a, b, where);)
}

/// D (16x8, float32) += A (16x8) B (8x8) in TF32: a[0] = (g, t), a[1] = (g+8, t), a[2] = (g, t+4),
/// a[3] = (g+8, t+4); b[0] = (t, g), b[1] = (t+4, g). Operands are float bits; the low 13 are ignored, so
/// round with to_tf32 first.
IMAGO_PTX void mma_m16n8k8_tf32(float (&d)[4], const uint32_t (&a)[4], const uint32_t (&b)[2] IMAGO_WHERE) {
  IMAGO_ON_DEVICE(asm volatile("mma.sync.aligned.m16n8k8.row.col.f32.tf32.tf32.f32 {%0,%1,%2,%3}, "
                               "{%4,%5,%6,%7}, {%8,%9}, {%0,%1,%2,%3};"
                               : "+f"(d[0]), "+f"(d[1]), "+f"(d[2]), "+f"(d[3])
                               : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b[0]), "r"(b[1]));)
  IMAGO_ON_HOST(emu::mma_m16n8k8_tf32(d, a, b, where);)
}

/// Rounds to the 10-bit mantissa of TF32, ties away from zero.
IMAGO_PTX uint32_t to_tf32(float x) {
  IMAGO_ON_DEVICE(uint32_t r; asm("cvt.rna.tf32.f32 %0, %1;" : "=r"(r) : "f"(x)); return r;)
  IMAGO_ON_HOST(return __float_as_uint(emu::round_to_tf32(x));)
}

/// 2^x, within 2 ulp; denormals flush to zero.
IMAGO_PTX float exp2_approx(float x) {
  IMAGO_ON_DEVICE(float y; asm("ex2.approx.ftz.f32 %0, %1;" : "=f"(y) : "f"(x)); return y;)
  IMAGO_ON_HOST(return std::exp2(x);)
}

// ---- cp.async (sm_80) ----
/// Starts a copy of 4, 8 or 16 aligned bytes from global to shared memory; past the first `src_bytes` it
/// writes zeros (and with 0 never looks at `src`).
template <int kBytes = 16>
IMAGO_PTX void cp_async(void* dst, const void* src, int src_bytes = kBytes IMAGO_WHERE) {
  static_assert(kBytes == 4 || kBytes == 8 || kBytes == 16, "cp.async copies 4, 8 or 16 bytes");
#ifdef __CUDACC__
  if constexpr (kBytes == 16)
    asm volatile("cp.async.cg.shared.global [%0], [%1], 16, %2;" ::"r"(shared_address(dst)), "l"(src),
                 "r"(src_bytes)
                 : "memory");
  else
    asm volatile("cp.async.ca.shared.global [%0], [%1], %2, %3;" ::"r"(shared_address(dst)), "l"(src),
                 "n"(kBytes), "r"(src_bytes)
                 : "memory");
#else
  emu::copy_async(dst, src, kBytes, src_bytes, where);
#endif
}
/// Closes the group of the copies since the last commit (an empty one counts, too).
IMAGO_PTX void cp_async_commit() {
  IMAGO_ON_DEVICE(asm volatile("cp.async.commit_group;" ::: "memory");)
  IMAGO_ON_HOST(emu::copy_async_commit();)
}
/// Waits until at most kPending of this thread's latest groups are in flight. Other threads' copies need a
/// barrier on top.
template <int kPending>
IMAGO_PTX void cp_async_wait() {
  IMAGO_ON_DEVICE(asm volatile("cp.async.wait_group %0;" ::"n"(kPending) : "memory");)
  IMAGO_ON_HOST(emu::copy_async_wait(kPending);)
}
/// Arrives at the mbarrier once all prior copies of this thread have landed. The arrival is one of
/// the barrier's count.
IMAGO_PTX void cp_async_mbarrier_arrive(uint64_t* barrier IMAGO_WHERE) {
  IMAGO_ON_DEVICE(
      asm volatile("cp.async.mbarrier.arrive.noinc.shared.b64 [%0];" ::"r"(shared_address(barrier))
                   : "memory");)
  IMAGO_ON_HOST(emu::copy_async_arrive(barrier, where);)
}

// ---- named barriers ----
/// Waits until `threads` threads have come to barrier `id` (1..15; 0 is __syncthreads). A multiple of 32.
IMAGO_PTX void bar_sync(int id, int threads IMAGO_WHERE) {
  IMAGO_ON_DEVICE(asm volatile("bar.sync %0, %1;" ::"r"(id), "r"(threads) : "memory");)
  IMAGO_ON_HOST(emu::named_barrier(id, threads, true, where);)
}
/// Comes to the barrier without waiting.
IMAGO_PTX void bar_arrive(int id, int threads IMAGO_WHERE) {
  IMAGO_ON_DEVICE(asm volatile("bar.arrive %0, %1;" ::"r"(id), "r"(threads) : "memory");)
  IMAGO_ON_HOST(emu::named_barrier(id, threads, false, where);)
}

// ---- mbarrier (sm_90) ----
/// `count` arrivals end a phase, once the bytes announced by expect_tx have landed too.
/// Follow with fence_mbarrier_init().
IMAGO_PTX void mbarrier_init(uint64_t* barrier, unsigned count IMAGO_WHERE) {
  IMAGO_ON_DEVICE(
      asm volatile("mbarrier.init.shared::cta.b64 [%0], %1;" ::"r"(shared_address(barrier)), "r"(count)
                   : "memory");)
  IMAGO_ON_HOST(emu::mbarrier_init(barrier, count, where);)
}
IMAGO_PTX void mbarrier_invalidate(uint64_t* barrier IMAGO_WHERE) {
  IMAGO_ON_DEVICE(asm volatile("mbarrier.inval.shared::cta.b64 [%0];" ::"r"(shared_address(barrier))
                               : "memory");)
  IMAGO_ON_HOST(emu::mbarrier_invalidate(barrier, where);)
}
/// Makes initializations visible to the async proxy.
IMAGO_PTX void fence_mbarrier_init() {
  IMAGO_ON_DEVICE(asm volatile("fence.mbarrier_init.release.cluster;" ::: "memory");)
  IMAGO_ON_HOST(emu::fence_mbarrier_init();)
}
IMAGO_PTX void mbarrier_arrive(uint64_t* barrier IMAGO_WHERE) {
  IMAGO_ON_DEVICE(asm volatile("mbarrier.arrive.shared::cta.b64 _, [%0];" ::"r"(shared_address(barrier))
                               : "memory");)
  IMAGO_ON_HOST(emu::mbarrier_arrive(barrier, 1, where);)
}
/// Announces `bytes` that bulk copies will bring, and arrives.
IMAGO_PTX void mbarrier_arrive_expect_tx(uint64_t* barrier, unsigned bytes IMAGO_WHERE) {
  IMAGO_ON_DEVICE(
      asm volatile("mbarrier.arrive.expect_tx.shared::cta.b64 _, [%0], %1;" ::"r"(shared_address(barrier)),
                   "r"(bytes)
                   : "memory");)
  IMAGO_ON_HOST(emu::mbarrier_expect(barrier, bytes, where); emu::mbarrier_arrive(barrier, 1, where);)
}
/// Whether the phase of this parity has ended. Parity 1 has "ended" before the first phase.
IMAGO_PTX bool mbarrier_try_wait(uint64_t* barrier, unsigned parity IMAGO_WHERE) {
#ifdef __CUDACC__
  uint32_t done;
  asm volatile(
      "{\n.reg .pred p;\n"
      "mbarrier.try_wait.parity.shared::cta.b64 p, [%1], %2;\n"
      "selp.u32 %0, 1, 0, p;\n}"
      : "=r"(done)
      : "r"(shared_address(barrier)), "r"(parity)
      : "memory");
  return done != 0;
#else
  return emu::mbarrier_test(barrier, parity, where);
#endif
}
#if defined(__CUDACC__) && defined(IMAGO_BOUNDED_WAITS)
/// Waits two seconds at most, then names the barrier and stops the kernel: a lost arrival, a wrong parity or
/// bytes that never land. All others that are stuck have the time to say so, too. With a call of printf in
/// the kernel ptxas serializes its wgmmas: this is for finding a mistake, not for timing.
IMAGO_PTX void bounded_mbarrier_wait(uint64_t* barrier, unsigned parity) {
  constexpr uint64_t kLongestWait = 2'000'000'000, kTimeToSpeak = 200'000'000;  // ns
  const uint64_t start = global_nanoseconds();
  while (!mbarrier_try_wait(barrier, parity)) {
    if (global_nanoseconds() - start < kLongestWait) continue;
    if (threadIdx.x % 32 == 0)
      std::printf(
          "stuck: block (%u,%u,%u) thread %u waits for the mbarrier at shared address %u, parity %u\n",
          blockIdx.x, blockIdx.y, blockIdx.z, threadIdx.x, shared_address(barrier), parity);
    while (global_nanoseconds() - start < kLongestWait + kTimeToSpeak) {
    }
    __trap();
  }
}
#endif
/// Waits until the phase of this parity has ended.
IMAGO_PTX void mbarrier_wait(uint64_t* barrier, unsigned parity IMAGO_WHERE) {
#if defined(__CUDACC__) && defined(IMAGO_BOUNDED_WAITS)
  bounded_mbarrier_wait(barrier, parity);
#elif defined(__CUDACC__)
  while (!mbarrier_try_wait(barrier, parity)) {
  }
#else
  emu::mbarrier_wait(barrier, parity, where);
#endif
}

// ---- TMA (sm_90) ----
/// Ordinary stores to shared memory before this are visible to TMA stores and wgmma after it.
IMAGO_PTX void fence_proxy_async() {
  IMAGO_ON_DEVICE(asm volatile("fence.proxy.async.shared::cta;" ::: "memory");)
  IMAGO_ON_HOST(emu::fence_proxy_async();)
}
IMAGO_PTX void prefetch_tensor_map([[maybe_unused]] const TensorMap* map) {
  IMAGO_ON_DEVICE(asm volatile("prefetch.tensormap [%0];" ::"l"(map) : "memory");)
}

/// Starts a load of the box of `map` whose first element is at `c` (c[0] along the contiguous
/// dimension). Elements outside of the tensor arrive as zeros. `barrier` is told the box's bytes, zeros
/// included, when they have landed.
template <int kRank>
IMAGO_PTX void tma_load(void* dst, const TensorMap* map, uint64_t* barrier,
                        const int (&c)[kRank] IMAGO_WHERE) {
  static_assert(kRank >= 1 && kRank <= 5, "tensor maps have 1 to 5 dimensions");
#ifdef __CUDACC__
#define IMAGO_TMA_LOAD(dims, list, ...)                                                     \
  asm volatile("cp.async.bulk.tensor." dims                                                 \
               ".shared::cluster.global.tile.mbarrier::complete_tx::bytes [%0], [%1, " list \
               "], [%2];" ::"r"(shared_address(dst)),                                       \
               "l"(map), "r"(shared_address(barrier)), __VA_ARGS__                          \
               : "memory")
  if constexpr (kRank == 1)
    IMAGO_TMA_LOAD("1d", "{%3}", "r"(c[0]));
  else if constexpr (kRank == 2)
    IMAGO_TMA_LOAD("2d", "{%3, %4}", "r"(c[0]), "r"(c[1]));
  else if constexpr (kRank == 3)
    IMAGO_TMA_LOAD("3d", "{%3, %4, %5}", "r"(c[0]), "r"(c[1]), "r"(c[2]));
  else if constexpr (kRank == 4)
    IMAGO_TMA_LOAD("4d", "{%3, %4, %5, %6}", "r"(c[0]), "r"(c[1]), "r"(c[2]), "r"(c[3]));
  else
    IMAGO_TMA_LOAD("5d", "{%3, %4, %5, %6, %7}", "r"(c[0]), "r"(c[1]), "r"(c[2]), "r"(c[3]), "r"(c[4]));
#undef IMAGO_TMA_LOAD
#else
  emu::tensor_load(dst, map, barrier, c, kRank, where);
#endif
}

/// Starts a store of a box; elements outside of the tensor are dropped. Ordinary stores to `src` need
/// fence_proxy_async() (and a barrier) first.
template <int kRank>
IMAGO_PTX void tma_store(const TensorMap* map, const void* src, const int (&c)[kRank] IMAGO_WHERE) {
  static_assert(kRank >= 1 && kRank <= 5, "tensor maps have 1 to 5 dimensions");
#ifdef __CUDACC__
#define IMAGO_TMA_STORE(dims, list, ...)                                                     \
  asm volatile("cp.async.bulk.tensor." dims ".global.shared::cta.tile.bulk_group [%0, " list \
               "], [%1];" ::"l"(map),                                                        \
               "r"(shared_address(src)), __VA_ARGS__                                         \
               : "memory")
  if constexpr (kRank == 1)
    IMAGO_TMA_STORE("1d", "{%2}", "r"(c[0]));
  else if constexpr (kRank == 2)
    IMAGO_TMA_STORE("2d", "{%2, %3}", "r"(c[0]), "r"(c[1]));
  else if constexpr (kRank == 3)
    IMAGO_TMA_STORE("3d", "{%2, %3, %4}", "r"(c[0]), "r"(c[1]), "r"(c[2]));
  else if constexpr (kRank == 4)
    IMAGO_TMA_STORE("4d", "{%2, %3, %4, %5}", "r"(c[0]), "r"(c[1]), "r"(c[2]), "r"(c[3]));
  else
    IMAGO_TMA_STORE("5d", "{%2, %3, %4, %5, %6}", "r"(c[0]), "r"(c[1]), "r"(c[2]), "r"(c[3]), "r"(c[4]));
#undef IMAGO_TMA_STORE
#else
  emu::tensor_store(map, src, c, kRank, where);
#endif
}

/// Plain bulk copies of a multiple of 16 aligned bytes.
IMAGO_PTX void bulk_load(void* dst, const void* src, unsigned bytes, uint64_t* barrier IMAGO_WHERE) {
  IMAGO_ON_DEVICE(
      asm volatile(
          "cp.async.bulk.shared::cluster.global.mbarrier::complete_tx::bytes [%0], [%1], %2, [%3];" ::"r"(
              shared_address(dst)),
          "l"(src), "r"(bytes), "r"(shared_address(barrier))
          : "memory");)
  IMAGO_ON_HOST(emu::bulk_load(dst, src, bytes, barrier, where);)
}
IMAGO_PTX void bulk_store(void* dst, const void* src, unsigned bytes IMAGO_WHERE) {
  IMAGO_ON_DEVICE(asm volatile("cp.async.bulk.global.shared::cta.bulk_group [%0], [%1], %2;" ::"l"(dst),
                               "r"(shared_address(src)), "r"(bytes)
                               : "memory");)
  IMAGO_ON_HOST(emu::bulk_store(dst, src, bytes, where);)
}
/// Closes the group of this thread's stores since the last commit.
IMAGO_PTX void bulk_commit() {
  IMAGO_ON_DEVICE(asm volatile("cp.async.bulk.commit_group;" ::: "memory");)
  IMAGO_ON_HOST(emu::bulk_commit();)
}
/// Waits until at most kPending groups of stores still have to write global memory, or ...
template <int kPending>
IMAGO_PTX void bulk_wait() {
  IMAGO_ON_DEVICE(asm volatile("cp.async.bulk.wait_group %0;" ::"n"(kPending) : "memory");)
  IMAGO_ON_HOST(emu::bulk_wait(kPending, false);)
}
/// ... only still have to read shared memory, which may be reused then.
template <int kPending>
IMAGO_PTX void bulk_wait_read() {
  IMAGO_ON_DEVICE(asm volatile("cp.async.bulk.wait_group.read %0;" ::"n"(kPending) : "memory");)
  IMAGO_ON_HOST(emu::bulk_wait(kPending, true);)
}

// ---- odds and ends ----
/// True in exactly one lane of the (converged) warp. sm_90.
IMAGO_PTX bool elect_one(IMAGO_WHERE_ONLY) {
#ifdef __CUDACC__
  uint32_t elected;
  asm volatile("{\n.reg .pred p;\nelect.sync _|p, 0xffffffff;\nselp.u32 %0, 1, 0, p;\n}" : "=r"(elected));
  return elected != 0;
#else
  emu::converge("elect.sync", where);
  return emu::lane() == 0;
#endif
}
/// Takes registers from, or gives registers to, the other warpgroups: kRegisters a thread, a multiple
/// of 8. sm_90a.
template <int kRegisters>
IMAGO_PTX void registers_decrease(IMAGO_WHERE_ONLY) {
  static_assert(kRegisters % 8 == 0 && kRegisters >= 24 && kRegisters <= 256,
                "setmaxnreg takes 24..256 in steps of 8");
  IMAGO_ON_DEVICE(asm volatile("setmaxnreg.dec.sync.aligned.u32 %0;" ::"n"(kRegisters));)
  IMAGO_ON_HOST(emu::converge("setmaxnreg.dec", where);)
}
template <int kRegisters>
IMAGO_PTX void registers_increase(IMAGO_WHERE_ONLY) {
  static_assert(kRegisters % 8 == 0 && kRegisters >= 24 && kRegisters <= 256,
                "setmaxnreg takes 24..256 in steps of 8");
  IMAGO_ON_DEVICE(asm volatile("setmaxnreg.inc.sync.aligned.u32 %0;" ::"n"(kRegisters));)
  IMAGO_ON_HOST(emu::converge("setmaxnreg.inc", where);)
}

}  // namespace imago::IMAGO_CUDA_NAMESPACE::ptx

#include "kernels/cuda/device/ptx_wgmma.h"
