// wgmma (sm_90a): D (64xN, float32) = A (64x16) B (16xN) + D in bfloat16, by the four warps of a
// warpgroup, asynchronously. Part of ptx.h; include that. Source: PTX ISA, section 9.7.15.5 (layouts,
// matrix descriptors, wgmma.mma_async).
#pragma once

namespace imago::IMAGO_CUDA_NAMESPACE::ptx {

/// Describes an operand in shared memory whose first byte is `p` (1024-byte aligned but for steps along
/// a row), stored in rows of 128 bytes that are swizzled as TMA does it with k128B. `leading` and
/// `stride` are distances in bytes:
///   K-major  (a row is 64 elements along K): stride = from 8 rows to the next 8 (1024 when packed); leading
///            unused.
///   MN-major (a row is 64 elements along M or N, one row a k): leading = from 64 elements of M or N to the
///   next
///            64, stride = from 8 k to the next 8 (1024 when packed).
IMAGO_PTX uint64_t wgmma_descriptor(const void* p, uint32_t leading, uint32_t stride) {
  return static_cast<uint64_t>((shared_address(p) & 0x3ffffu) >> 4) |
         static_cast<uint64_t>((leading & 0x3ffffu) >> 4) << 16 |
         static_cast<uint64_t>((stride & 0x3ffffu) >> 4) << 32 | static_cast<uint64_t>(1) << 62;
}
IMAGO_PTX uint64_t wgmma_k_major(const void* p) {
  return wgmma_descriptor(p, 16, 1024);
}
IMAGO_PTX uint64_t wgmma_mn_major(const void* p, uint32_t leading) {
  return wgmma_descriptor(p, leading, 1024);
}
/// The operand `bytes` further on: 32 for the next 16 of K when K-major, 2048 when MN-major and packed.
IMAGO_PTX uint64_t wgmma_advance(uint64_t descriptor, uint32_t bytes) {
  return descriptor + (bytes >> 4);
}

/// Orders earlier register accesses (accumulators, A fragments) before the products that follow.
IMAGO_PTX void wgmma_fence(IMAGO_WHERE_ONLY) {
  IMAGO_ON_DEVICE(asm volatile("wgmma.fence.sync.aligned;" ::: "memory");)
  IMAGO_ON_HOST(emu::wgmma_fence(where);)
}
IMAGO_PTX void wgmma_commit(IMAGO_WHERE_ONLY) {
  IMAGO_ON_DEVICE(asm volatile("wgmma.commit_group.sync.aligned;" ::: "memory");)
  IMAGO_ON_HOST(emu::wgmma_commit(where);)
}
/// Waits until at most kPending groups of products are in flight: then accumulators may be read
/// and operands overwritten.
template <int kPending>
IMAGO_PTX void wgmma_wait(IMAGO_WHERE_ONLY) {
  IMAGO_ON_DEVICE(asm volatile("wgmma.wait_group.sync.aligned %0;" ::"n"(kPending) : "memory");)
  IMAGO_ON_HOST(emu::wgmma_wait(kPending, where);)
}

/// Between the wait for products and the first use of what they wrote. The wait names no registers, so
/// without this nothing keeps the compiler from reading them earlier.
template <int kRegisters>
IMAGO_PTX void wgmma_fence_registers([[maybe_unused]] float (&d)[kRegisters]) {
#ifdef __CUDACC__
#pragma unroll
  for (int i = 0; i < kRegisters; ++i) asm volatile("" : "+f"(d[i])::"memory");
#endif
}

#ifdef __CUDACC__
// Operand lists of 8 registers each, composed to the 4 (N / 8) accumulators of a shape.
#define IMAGO_F8(i)                                                                           \
  "+f"(d[i]), "+f"(d[i + 1]), "+f"(d[i + 2]), "+f"(d[i + 3]), "+f"(d[i + 4]), "+f"(d[i + 5]), \
      "+f"(d[i + 6]), "+f"(d[i + 7])
#define IMAGO_F32(i) IMAGO_F8(i), IMAGO_F8(i + 8), IMAGO_F8(i + 16), IMAGO_F8(i + 24)
#define IMAGO_D16 "%0,%1,%2,%3,%4,%5,%6,%7,%8,%9,%10,%11,%12,%13,%14,%15"
#define IMAGO_D32 IMAGO_D16 ",%16,%17,%18,%19,%20,%21,%22,%23,%24,%25,%26,%27,%28,%29,%30,%31"
#define IMAGO_D64                                                                                 \
  IMAGO_D32                                                                                       \
  ",%32,%33,%34,%35,%36,%37,%38,%39,%40,%41,%42,%43,%44,%45,%46,%47,%48,%49,%50,%51,%52,%53,%54," \
  "%55,%56,%57,%58,%59,%60,%61,%62,%63"
#define IMAGO_D96                                                                                 \
  IMAGO_D64                                                                                       \
  ",%64,%65,%66,%67,%68,%69,%70,%71,%72,%73,%74,%75,%76,%77,%78,%79,%80,%81,%82,%83,%84,%85,%86," \
  "%87,%88,%89,%90,%91,%92,%93,%94,%95"
#define IMAGO_D128                                                                                    \
  IMAGO_D96                                                                                           \
  ",%96,%97,%98,%99,%100,%101,%102,%103,%104,%105,%106,%107,%108,%109,%110,%111,%112,%113,%114,%115," \
  "%116,%117,%118,%119,%120,%121,%122,%123,%124,%125,%126,%127"
// After the accumulators come A (a descriptor or four registers), B, whether to add, and which operands are
// MN-major: their numbers depend on the shape, and nvcc knows no symbolic ones.
#define IMAGO_WGMMA(shape, list, a_, b_, add_, ta_, tb_, ...)                                 \
  asm volatile("{\n.reg .pred p;\nsetp.ne.b32 p, " add_                                       \
               ", 0;\n"                                                                       \
               "wgmma.mma_async.sync.aligned." shape ".f32.bf16.bf16 {" list "}, " a_ ", " b_ \
               ", p, 1, 1, " ta_ ", " tb_ ";\n}"                                              \
               : __VA_ARGS__                                                                  \
               : "l"(a), "l"(b), "r"(static_cast<int>(add)), "n"(kMnMajorA), "n"(kMnMajorB))
#define IMAGO_WGMMA_RA(shape, list, a_, b_, add_, tb_, ...)                                      \
  asm volatile("{\n.reg .pred p;\nsetp.ne.b32 p, " add_                                          \
               ", 0;\n"                                                                          \
               "wgmma.mma_async.sync.aligned." shape ".f32.bf16.bf16 {" list "}, {" a_ "}, " b_  \
               ", p, 1, 1, " tb_ ";\n}"                                                          \
               : __VA_ARGS__                                                                     \
               : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "l"(b), "r"(static_cast<int>(add)), \
                 "n"(kMnMajorB))
#endif

/// D = A B + D, or A B when not `add`; both operands in shared memory. N = kRegisters * 2: 32, 64, 128, 192
/// or 256. Warp w of the warpgroup holds rows 16 w ..: register 4 j + 2 q + h is D(16 w + l/4 + 8 q, 8 j + 2
/// (l%4) + h) of lane l. Until wgmma_wait, d must not be touched.
template <int kMnMajorA = 0, int kMnMajorB = 0, int kRegisters>
IMAGO_PTX void wgmma(float (&d)[kRegisters], uint64_t a, uint64_t b, bool add = true IMAGO_WHERE) {
  static_assert(
      kRegisters == 16 || kRegisters == 32 || kRegisters == 64 || kRegisters == 96 || kRegisters == 128,
      "wgmma: N is 32, 64, 128, 192 or 256");
#ifdef __CUDACC__
#if IMAGO_HAS_WGMMA
  if constexpr (kRegisters == 16)
    IMAGO_WGMMA("m64n32k16", IMAGO_D16, "%16", "%17", "%18", "%19", "%20", IMAGO_F8(0), IMAGO_F8(8));
  else if constexpr (kRegisters == 32)
    IMAGO_WGMMA("m64n64k16", IMAGO_D32, "%32", "%33", "%34", "%35", "%36", IMAGO_F32(0));
  else if constexpr (kRegisters == 64)
    IMAGO_WGMMA("m64n128k16", IMAGO_D64, "%64", "%65", "%66", "%67", "%68", IMAGO_F32(0), IMAGO_F32(32));
  else if constexpr (kRegisters == 96)
    IMAGO_WGMMA("m64n192k16", IMAGO_D96, "%96", "%97", "%98", "%99", "%100", IMAGO_F32(0), IMAGO_F32(32),
                IMAGO_F32(64));
  else
    IMAGO_WGMMA("m64n256k16", IMAGO_D128, "%128", "%129", "%130", "%131", "%132", IMAGO_F32(0), IMAGO_F32(32),
                IMAGO_F32(64), IMAGO_F32(96));
#endif
#else
  emu::wgmma(2 * kRegisters, d, nullptr, a, b, add, kMnMajorA != 0, kMnMajorB != 0, where);
#endif
}

/// The same with A in registers, in the fragments of mma_m16n8k16_bf16 (rows 16 w .. of warp w). a, too, must
/// not be touched until wgmma_wait.
template <int kMnMajorB = 0, int kRegisters>
IMAGO_PTX void wgmma(float (&d)[kRegisters], const uint32_t (&a)[4], uint64_t b,
                     bool add = true IMAGO_WHERE) {
  static_assert(
      kRegisters == 16 || kRegisters == 32 || kRegisters == 64 || kRegisters == 96 || kRegisters == 128,
      "wgmma: N is 32, 64, 128, 192 or 256");
#ifdef __CUDACC__
#if IMAGO_HAS_WGMMA
  if constexpr (kRegisters == 16)
    IMAGO_WGMMA_RA("m64n32k16", IMAGO_D16, "%16,%17,%18,%19", "%20", "%21", "%22", IMAGO_F8(0), IMAGO_F8(8));
  else if constexpr (kRegisters == 32)
    IMAGO_WGMMA_RA("m64n64k16", IMAGO_D32, "%32,%33,%34,%35", "%36", "%37", "%38", IMAGO_F32(0));
  else if constexpr (kRegisters == 64)
    IMAGO_WGMMA_RA("m64n128k16", IMAGO_D64, "%64,%65,%66,%67", "%68", "%69", "%70", IMAGO_F32(0),
                   IMAGO_F32(32));
  else if constexpr (kRegisters == 96)
    IMAGO_WGMMA_RA("m64n192k16", IMAGO_D96, "%96,%97,%98,%99", "%100", "%101", "%102", IMAGO_F32(0),
                   IMAGO_F32(32), IMAGO_F32(64));
  else
    IMAGO_WGMMA_RA("m64n256k16", IMAGO_D128, "%128,%129,%130,%131", "%132", "%133", "%134", IMAGO_F32(0),
                   IMAGO_F32(32), IMAGO_F32(64), IMAGO_F32(96));
#endif
#else
  emu::wgmma(2 * kRegisters, d, a, 0, b, add, false, kMnMajorB != 0, where);
#endif
}

#ifdef __CUDACC__
#undef IMAGO_F8
#undef IMAGO_F32
#undef IMAGO_D16
#undef IMAGO_D32
#undef IMAGO_D64
#undef IMAGO_D96
#undef IMAGO_D128
#undef IMAGO_WGMMA
#undef IMAGO_WGMMA_RA
#endif

}  // namespace imago::IMAGO_CUDA_NAMESPACE::ptx
