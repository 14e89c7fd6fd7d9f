// C(m,n) += sum_k A(m,k) B(n,k) for one tile in shared memory: on tensor cores (bfloat16) or by FFMA
// (float32). Both sum in float32 and hand their part of the tile back to shared memory as float32
// for the epilogue.
#pragma once

#include "kernels/cuda/convolution/tile_ring.h"

namespace imago::IMAGO_CUDA_NAMESPACE {

/// The tile of results as float32 [kM][kN] in shared memory. Sixteen-byte chunks are permuted by
/// row, in pairs, so that four rows of a fragment go to different banks while eight consecutive
/// columns stay together.
template <int kN>
struct ResultTile {
  static __device__ __forceinline__ int index(int row, int column) {
    const int chunk = (column >> 2) ^ (((row & 3) << 1) & (kN / 4 - 1));
    return row * kN + chunk * 4 + (column & 3);
  }
};

template <class T, class Shape, bool kAInner, bool kBInner>
class TileProduct;

// ---- bfloat16: mma.sync m16n8k16, fragments by ldmatrix ----

/// A's fragment of lines m.. and k's k.., from a tile with k outside: transposed on the way.
template <int kM>
__device__ __forceinline__ void load_transposed_a(uint32_t (&f)[4], const unsigned char* tile, int lane,
                                                  int m, int k) {
  const int high = lane >> 4, odd = (lane >> 3) & 1;
  ptx::ldmatrix_x4<true>(
      f, tile + KOuterTile<__nv_bfloat16, kM>::offset(k + (lane & 7) + 8 * high, m / 8 + odd));
}

template <class Shape, bool kAInner, bool kBInner>
class TileProduct<__nv_bfloat16, Shape, kAInner, kBInner> {
  using T = __nv_bfloat16;
  static constexpr int kWarpM = Shape::kM / Shape::kWarpsM, kWarpN = Shape::kN / Shape::kWarpsN;
  static constexpr int kRows = kWarpM / 16, kColumns = kWarpN / 8;  // fragments of a warp
  static_assert(kWarpM % 16 == 0 && kWarpN % 16 == 0);

 public:
  __device__ explicit TileProduct(int thread)
      : lane_(thread % 32),
        m_(thread / 32 / Shape::kWarpsN * kWarpM),
        n_(thread / 32 % Shape::kWarpsN * kWarpN) {}

  __device__ __forceinline__ void multiply(const unsigned char* a, const unsigned char* b) {
#pragma unroll
    for (int k = 0; k < kDepth<T>; k += 16) {
      uint32_t fa[kRows][4], fb[kColumns / 2][4];
#pragma unroll
      for (int i = 0; i < kRows; ++i) load_a(fa[i], a, m_ + 16 * i, k);
#pragma unroll
      for (int j = 0; j < kColumns / 2; ++j) load_b(fb[j], b, n_ + 16 * j, k);
#pragma unroll
      for (int i = 0; i < kRows; ++i)
#pragma unroll
        for (int j = 0; j < kColumns; ++j) {
          const uint32_t column[2] = {fb[j / 2][j % 2 * 2], fb[j / 2][j % 2 * 2 + 1]};
          ptx::mma_m16n8k16_bf16(sum_[i][j], fa[i], column);
        }
    }
  }

  __device__ __forceinline__ void store(float* result) const {
#pragma unroll
    for (int i = 0; i < kRows; ++i)
#pragma unroll
      for (int j = 0; j < kColumns; ++j)
#pragma unroll
        for (int half = 0; half < 2;
             ++half) {  // a fragment is rows lane/4 and lane/4 + 8, columns 2 (lane%4) + {0,1}
          const int row = m_ + 16 * i + 8 * half + lane_ / 4, column = n_ + 8 * j + lane_ % 4 * 2;
          *reinterpret_cast<float2*>(result + ResultTile<Shape::kN>::index(row, column)) =
              make_float2(sum_[i][j][2 * half], sum_[i][j][2 * half + 1]);
        }
  }

 private:
  // ldmatrix.x4 loads four 8x8 matrices; lanes 8 i .. 8 i + 7 name the rows of matrix i. A's fragment wants
  // them in the order (m lo, k lo), (m hi, k lo), (m lo, k hi), (m hi, k hi); a pair of B's fragments (n lo,
  // k lo), (n lo, k hi), (n hi, k lo), (n hi, k hi). Tiles with k outside are transposed on the way.
  __device__ __forceinline__ void load_a(uint32_t (&f)[4], const unsigned char* tile, int m, int k) const {
    if constexpr (kAInner)
      ptx::ldmatrix_x4<false>(
          f, tile + KInnerTile<T, Shape::kM>::offset(m + (lane_ & 15), k / 8 + (lane_ >> 4)));
    else
      load_transposed_a<Shape::kM>(f, tile, lane_, m, k);
  }
  __device__ __forceinline__ void load_b(uint32_t (&f)[4], const unsigned char* tile, int n, int k) const {
    const int high = lane_ >> 4, odd = (lane_ >> 3) & 1;
    if constexpr (kBInner) {
      ptx::ldmatrix_x4<false>(
          f, tile + KInnerTile<T, Shape::kN>::offset(n + (lane_ & 7) + 8 * high, k / 8 + odd));
    } else {
      ptx::ldmatrix_x4<true>(
          f, tile + KOuterTile<T, Shape::kN>::offset(k + (lane_ & 7) + 8 * odd, n / 8 + high));
    }
  }

  int lane_, m_, n_;
  float sum_[kRows][kColumns][4] = {};
};

// ---- float32: every thread an outer product of kThreadM x kThreadN, four k's per round ----

template <class Shape, bool kAInner, bool kBInner>
class TileProduct<float, Shape, kAInner, kBInner> {
  static_assert(kAInner || !kBInner, "no operation needs K-outer times K-inner");
  static constexpr int kThreadsN = Shape::kN / 8, kThreadsM = Shape::kThreads / kThreadsN;
  static constexpr int kThreadM = Shape::kM / kThreadsM, kThreadN = 8;
  static_assert(kThreadM * kThreadsM == Shape::kM && kThreadM % 4 == 0);

 public:
  __device__ explicit TileProduct(int thread) : m_(thread / kThreadsN), n_(thread % kThreadsN) {}

  __device__ __forceinline__ void multiply(const unsigned char* a, const unsigned char* b) {
#pragma unroll
    for (int chunk = 0; chunk < kChunksPerLine; ++chunk) {
      float fa[kThreadM][4];  // four k's of each line
      if constexpr (kAInner) {
#pragma unroll
        for (int i = 0; i < kThreadM; ++i)
          read4(fa[i], a + KInnerTile<float, Shape::kM>::offset(row(i), chunk));
      }
      if constexpr (kBInner) {
#pragma unroll
        for (int j = 0; j < kThreadN; ++j) {
          float fb[4];
          read4(fb, b + KInnerTile<float, Shape::kN>::offset(column(j), chunk));
#pragma unroll
          for (int k = 0; k < 4; ++k)
#pragma unroll
            for (int i = 0; i < kThreadM; ++i) sum_[i][j] = fmaf(fa[i][k], fb[k], sum_[i][j]);
        }
      } else {
#pragma unroll
        for (int k = 0; k < 4; ++k) {
          float ca[kThreadM], fb[kThreadN];  // one k of each line
#pragma unroll
          for (int i = 0; i < kThreadM; i += 4) {
            if constexpr (kAInner)
              for (int e = 0; e < 4; ++e) ca[i + e] = fa[i + e][k];
            else
              read4(*reinterpret_cast<float(*)[4]>(ca + i),
                    a + KOuterTile<float, Shape::kM>::offset(4 * chunk + k, row(i) / 4));
          }
#pragma unroll
          for (int j = 0; j < kThreadN; j += 4)
            read4(*reinterpret_cast<float(*)[4]>(fb + j),
                  b + KOuterTile<float, Shape::kN>::offset(4 * chunk + k, column(j) / 4));
#pragma unroll
          for (int i = 0; i < kThreadM; ++i)
#pragma unroll
            for (int j = 0; j < kThreadN; ++j) sum_[i][j] = fmaf(ca[i], fb[j], sum_[i][j]);
        }
      }
    }
  }

  __device__ __forceinline__ void store(float* result) const {
#pragma unroll
    for (int i = 0; i < kThreadM; ++i)
#pragma unroll
      for (int j = 0; j < kThreadN; ++j) result[ResultTile<Shape::kN>::index(row(i), column(j))] = sum_[i][j];
  }

 private:
  // A thread's lines: scattered by the number of threads where a line is read alone, in fours where four
  // neighbours are read together. Either way a quarter of a warp reads eight different chunks.
  __device__ __forceinline__ int row(int i) const {
    return kAInner ? m_ + i * kThreadsM : 4 * m_ + i % 4 + i / 4 * 4 * kThreadsM;
  }
  __device__ __forceinline__ int column(int j) const {
    return kBInner ? n_ + j * kThreadsN : 4 * n_ + j % 4 + j / 4 * 4 * kThreadsN;
  }
  static __device__ __forceinline__ void read4(float (&v)[4], const unsigned char* p) {
    const float4 f = *reinterpret_cast<const float4*>(p);
    v[0] = f.x, v[1] = f.y, v[2] = f.z, v[3] = f.w;
  }

  int m_, n_;
  float sum_[kThreadM][kThreadN] = {};
};

}  // namespace imago::IMAGO_CUDA_NAMESPACE
