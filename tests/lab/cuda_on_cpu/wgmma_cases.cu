// wgmma: every shape, both majors of both operands, A in registers, accumulate or not.
#include "tests/lab/cuda_on_cpu/ptx_cases.h"

namespace imago::IMAGO_CUDA_NAMESPACE {
namespace {

constexpr int kM = 64, kK = 64;  // four instructions along K
enum Major { kKMajor = 0, kMnMajor = 1 };

/// Byte of element (mn, k) in rows of 128 swizzled bytes: one row an mn (K-major), or one row a k for
/// every 64 mn.
[[maybe_unused]] __device__ int operand_byte(int mn, int k, int major) {
  if (major == kKMajor) return mn * 128 + ((k / 8) ^ (mn % 8)) * 16 + k % 8 * 2;
  return mn / 64 * (kK * 128) + k * 128 + ((mn % 64 / 8) ^ (k % 8)) * 16 + mn % 8 * 2;
}

[[maybe_unused]] __device__ void fill(unsigned char* shared, const __nv_bfloat16* x, int rows,
                                      int major) {  // x [rows, kK]
  for (int i = static_cast<int>(threadIdx.x); i < rows * kK; i += 128)
    *reinterpret_cast<__nv_bfloat16*>(shared + operand_byte(i / kK, i % kK, major)) = x[i];
}

[[maybe_unused]] __device__ uint64_t step(const unsigned char* operand, int major, int kk) {
  const uint64_t d = major == kKMajor ? ptx::wgmma_k_major(operand) : ptx::wgmma_mn_major(operand, kK * 128);
  return ptx::wgmma_advance(d, static_cast<uint32_t>(kk * (major == kKMajor ? 32 : 2048)));
}

/// d [64, N] = a [64, kK] b [N, kK]^T + (add ? d : 0). Row 16 w + l/4 + 8 q, column 8 j + 2 (l%4) + h in
/// register 4j + 2q + h.
template <int kN, int kMajorA, int kMajorB, bool kRegisterA>
__global__ void __launch_bounds__(128)
    product(const __nv_bfloat16* a, const __nv_bfloat16* b, float* d, int add) {
#if IMAGO_HAS_WGMMA
  IMAGO_DYNAMIC_SHARED(sa);
  unsigned char* sb = sa + kM * kK * 2;
  fill(sa, a, kM, kMajorA);
  fill(sb, b, kN, kMajorB);
  ptx::fence_proxy_async();
  __syncthreads();
  const int warp = static_cast<int>(threadIdx.x) / 32, lane = static_cast<int>(threadIdx.x) % 32;
  float acc[kN / 2];
  auto at = [&](int r) {
    return (16 * warp + lane / 4 + 8 * (r / 2 % 2)) * kN + 8 * (r / 4) + 2 * (lane % 4) + r % 2;
  };
#pragma unroll
  for (int r = 0; r < kN / 2; ++r) acc[r] = d[at(r)];
  uint32_t fragments[kK / 16][4];
  if constexpr (kRegisterA)
    for (int kk = 0; kk < kK / 16; ++kk)
      for (int q = 0; q < 4; ++q)
        fragments[kk][q] = *reinterpret_cast<const uint32_t*>(a + (16 * warp + lane / 4 + 8 * (q % 2)) * kK +
                                                              16 * kk + 2 * (lane % 4) + 8 * (q / 2));
  ptx::wgmma_fence();
#pragma unroll
  for (int kk = 0; kk < kK / 16; ++kk) {
    const bool accumulate = add || kk > 0;
    if constexpr (kRegisterA)
      ptx::wgmma<kMajorB>(acc, fragments[kk], step(sb, kMajorB, kk), accumulate);
    else
      ptx::wgmma<kMajorA, kMajorB>(acc, step(sa, kMajorA, kk), step(sb, kMajorB, kk), accumulate);
  }
  ptx::wgmma_commit();
  ptx::wgmma_wait<0>();
  ptx::wgmma_fence_registers(acc);
#pragma unroll
  for (int r = 0; r < kN / 2; ++r) d[at(r)] = acc[r];
#endif
}

template <int kN, int kMajorA, int kMajorB, bool kRegisterA = false>
PtxCase product_case(int add) {
  const auto a = small_integers(kM * kK, 11), b = small_integers(kN * kK, 12),
             d = small_integers(kM * kN, 13);
  const std::string name = "wgmma n" + std::to_string(kN) +
                           (kRegisterA ? " A in registers"
                            : kMajorA  ? " A MN-major"
                                       : "") +
                           (kMajorB ? " B MN-major" : "") + (add ? "" : " overwriting");
  return {name, 91,
          [=] {
            DeviceArray<__nv_bfloat16> da(to_bfloat16(a)), db(to_bfloat16(b));
            DeviceArray<float> dd(d);
            launch(product<kN, kMajorA, kMajorB, kRegisterA>,
                   {.grid = 1, .block = 128, .shared_bytes = (kM + kN) * kK * 2}, da.get(), db.get(),
                   dd.get(), add);
            return words_of(dd.download());
          },
          [=] {
            std::vector<float> r(kM * kN);
            for (int m = 0; m < kM; ++m)
              for (int n = 0; n < kN; ++n) {
                float sum = add ? d[m * kN + n] : 0;
                for (int k = 0; k < kK; ++k) sum += a[m * kK + k] * b[n * kK + k];
                r[m * kN + n] = sum;
              }
            return words_of(r);
          }};
}

}  // namespace

std::vector<PtxCase> wgmma_cases() {
  return {product_case<32, kKMajor, kKMajor>(1),        product_case<64, kKMajor, kKMajor>(0),
          product_case<128, kKMajor, kKMajor>(1),       product_case<192, kKMajor, kKMajor>(1),
          product_case<256, kKMajor, kKMajor>(1),       product_case<64, kMnMajor, kKMajor>(1),
          product_case<128, kKMajor, kMnMajor>(1),      product_case<256, kMnMajor, kMnMajor>(0),
          product_case<64, kKMajor, kKMajor, true>(1),  product_case<128, kKMajor, kMnMajor, true>(0),
          product_case<64, kKMajor, kMnMajor, true>(1), product_case<256, kKMajor, kMnMajor, true>(1)};
}

}  // namespace imago::IMAGO_CUDA_NAMESPACE
