// ldmatrix, stmatrix, mma.sync and the conversions, element by element.
#include <cmath>

#include "tests/lab/cuda_on_cpu/ptx_cases.h"

namespace imago::IMAGO_CUDA_NAMESPACE {
namespace {

// ---- ldmatrix and stmatrix ----
// Four 8x8 matrices, one below the other: element (m, r, c) has the value 64 m + 8 r + c.
template <bool kTransposed>
__global__ void load_matrices(uint32_t* out) {  // out [32][6]: x4, then x2
  IMAGO_SHARED(uint16_t, tile, [32][8]);
  for (int i = static_cast<int>(threadIdx.x); i < 256; i += 32) tile[i / 8][i % 8] = static_cast<uint16_t>(i);
  __syncwarp();
  uint32_t four[4], two[2];
  ptx::ldmatrix_x4<kTransposed>(four, tile[threadIdx.x]);
  ptx::ldmatrix_x2<kTransposed>(two, tile[threadIdx.x % 16 + 8]);
  for (int i = 0; i < 4; ++i) out[6 * threadIdx.x + i] = four[i];
  for (int i = 0; i < 2; ++i) out[6 * threadIdx.x + 4 + i] = two[i];
}

uint32_t fragment_of(uint32_t matrix, uint32_t lane, bool transposed) {
  uint32_t word = 0;
  for (uint32_t h = 0; h < 2; ++h) {
    const uint32_t g = lane / 4, i = 2 * (lane % 4) + h;
    word |= (64 * matrix + (transposed ? 8 * i + g : 8 * g + i)) << 16 * h;
  }
  return word;
}

template <bool kTransposed>
PtxCase load_case() {
  return {kTransposed ? "ldmatrix.trans" : "ldmatrix", 80,
          [] {
            DeviceArray<uint32_t> out(32 * 6);
            launch(load_matrices<kTransposed>, {.grid = 1, .block = 32}, out.get());
            return out.download();
          },
          [] {
            Words w;
            for (uint32_t l = 0; l < 32; ++l)
              for (uint32_t m : {0u, 1u, 2u, 3u, 1u, 2u}) w.push_back(fragment_of(m, l, kTransposed));
            return w;
          }};
}

template <bool kTransposed>
__global__ void store_matrices(uint32_t* out) {  // out [128]: the tile as it lies in shared memory
#if IMAGO_HAS_TMA
  IMAGO_SHARED(uint16_t, tile, [32][8]);
  uint32_t r[4];
  for (uint32_t m = 0; m < 4; ++m)
    r[m] = 1000 * m + 2 * threadIdx.x + ((1000 * m + 2 * threadIdx.x + 1) << 16);
  ptx::stmatrix_x4<kTransposed>(tile[threadIdx.x], r);
  __syncwarp();
  for (int i = 0; i < 4; ++i)
    out[4 * threadIdx.x + i] = reinterpret_cast<const uint32_t*>(tile[threadIdx.x])[i];
#endif
}

template <bool kTransposed>
PtxCase store_case() {
  return {kTransposed ? "stmatrix.trans" : "stmatrix", 90,
          [] {
            DeviceArray<uint32_t> out(128);
            launch(store_matrices<kTransposed>, {.grid = 1, .block = 32}, out.get());
            return out.download();
          },
          [] {
            Words w(128);
            for (uint32_t m = 0; m < 4; ++m)
              for (uint32_t r = 0; r < 8; ++r)
                for (uint32_t c = 0; c < 8; ++c) {
                  const uint32_t g = kTransposed ? c : r,
                                 i = kTransposed ? r : c;  // lane 4 g + i / 2 held it
                  w[(8 * m + r) * 4 + c / 2] |= (1000 * m + 2 * (4 * g + i / 2) + i % 2) << 16 * (c % 2);
                }
            return w;
          }};
}

// ---- mma ----
__global__ void mma_bf16(const __nv_bfloat16* a, const __nv_bfloat16* b,
                         float* c) {  // a [16,16], b [16,8], c [16,8]
  const int g = static_cast<int>(threadIdx.x) / 4, t = static_cast<int>(threadIdx.x) % 4;
  auto pack = [](__nv_bfloat16 low, __nv_bfloat16 high) {
    return static_cast<uint32_t>(__bfloat16_as_ushort(low)) |
           static_cast<uint32_t>(__bfloat16_as_ushort(high)) << 16;
  };
  uint32_t fa[4], fb[2];
  for (int q = 0; q < 4; ++q) {
    const __nv_bfloat16* p = a + 16 * (g + 8 * (q % 2)) + 2 * t + 8 * (q / 2);
    fa[q] = pack(p[0], p[1]);
  }
  for (int q = 0; q < 2; ++q) fb[q] = pack(b[8 * (2 * t + 8 * q) + g], b[8 * (2 * t + 8 * q + 1) + g]);
  float d[4];
  for (int q = 0; q < 4; ++q) d[q] = c[8 * (g + 8 * (q / 2)) + 2 * t + q % 2];
  ptx::mma_m16n8k16_bf16(d, fa, fb);
  for (int q = 0; q < 4; ++q) c[8 * (g + 8 * (q / 2)) + 2 * t + q % 2] = d[q];
}

__global__ void mma_tf32(const float* a, const float* b, float* c) {  // a [16,8], b [8,8], c [16,8]
  const int g = static_cast<int>(threadIdx.x) / 4, t = static_cast<int>(threadIdx.x) % 4;
  uint32_t fa[4], fb[2];
  for (int q = 0; q < 4; ++q) fa[q] = ptx::to_tf32(a[8 * (g + 8 * (q % 2)) + t + 4 * (q / 2)]);
  for (int q = 0; q < 2; ++q) fb[q] = ptx::to_tf32(b[8 * (t + 4 * q) + g]);
  float d[4];
  for (int q = 0; q < 4; ++q) d[q] = c[8 * (g + 8 * (q / 2)) + 2 * t + q % 2];
  ptx::mma_m16n8k8_tf32(d, fa, fb);
  for (int q = 0; q < 4; ++q) c[8 * (g + 8 * (q / 2)) + 2 * t + q % 2] = d[q];
}

Words product(const std::vector<float>& a, const std::vector<float>& b, std::vector<float> c, int m, int n,
              int k) {
  for (int i = 0; i < m; ++i)
    for (int j = 0; j < n; ++j)
      for (int l = 0; l < k; ++l) c[i * n + j] += a[i * k + l] * b[l * n + j];
  return words_of(c);
}

// ---- scalar functions ----
__global__ void scalars(const float* x, uint32_t* out, int n) {
  const int i = static_cast<int>(threadIdx.x);
  if (i < n) out[i] = ptx::to_tf32(x[i]);
}
__global__ void exponentials(const float* x, float* out, int n) {
  const int i = static_cast<int>(threadIdx.x);
  if (i < n) out[i] = ptx::exp2_approx(x[i]);
}

const std::vector<float> kScalars = {
    0.f,   1.f,   -1.f,      1.0f + 0x1p-11f, 1.0f + 0x1.8p-11f, 1.0f + 0x1p-12f,
    3.14f, -2.7f, 0x1p-100f, 65504.f,         -1.0f - 0x1p-11f,  0x1.ffffffp9f};
Words tf32_expected() {
  Words w;
  for (float x : kScalars) {
    int e = 0;
    const double m = std::frexp(static_cast<double>(x), &e);  // 11 significant bits, ties away from zero
    w.push_back(words_of({static_cast<float>(std::ldexp(std::round(std::ldexp(m, 11)), e - 11))})[0]);
  }
  return w;
}

}  // namespace

std::vector<PtxCase> matrix_cases() {
  const auto a = small_integers(256, 1), b = small_integers(128, 2), c = small_integers(128, 3);
  const std::vector<float> a8(a.begin(), a.begin() + 128), b8(b.begin(), b.begin() + 64);
  std::vector<float> x;
  for (int i = 0; i < 64; ++i) x.push_back(static_cast<float>(i - 40) * 0.37f);
  return {load_case<false>(),
          load_case<true>(),
          store_case<false>(),
          store_case<true>(),
          {"mma.m16n8k16.bf16", 80,
           [=] {
             DeviceArray<__nv_bfloat16> da(to_bfloat16(a)), db(to_bfloat16(b));
             DeviceArray<float> dc(c);
             launch(mma_bf16, {.grid = 1, .block = 32}, da.get(), db.get(), dc.get());
             return words_of(dc.download());
           },
           [=] { return product(a, b, c, 16, 8, 16); }},
          {"mma.m16n8k8.tf32", 80,
           [=] {
             DeviceArray<float> da(a8), db(b8), dc(c);
             launch(mma_tf32, {.grid = 1, .block = 32}, da.get(), db.get(), dc.get());
             return words_of(dc.download());
           },
           [=] { return product(a8, b8, c, 16, 8, 8); }},
          {"cvt.rna.tf32", 80,
           [] {
             DeviceArray<float> in(kScalars);
             DeviceArray<uint32_t> out(kScalars.size());
             launch(scalars, {.grid = 1, .block = 32}, in.get(), out.get(),
                    static_cast<int>(kScalars.size()));
             return out.download();
           },
           tf32_expected},
          {"ex2.approx", 80,
           [=] {
             DeviceArray<float> in(x), out(x.size());
             launch(exponentials, {.grid = 1, .block = 64}, in.get(), out.get(), static_cast<int>(x.size()));
             return words_of(out.download());
           },
           [=] {
             std::vector<float> y;
             for (float v : x) y.push_back(static_cast<float>(std::exp2(static_cast<double>(v))));
             return words_of(y);
           },
           2}};
}

}  // namespace imago::IMAGO_CUDA_NAMESPACE
