// Products of small matrices that lie in cache: the inner loops of attention and of Winograd's convolutions.
//
// C[M,N] (+)= A[M,K] B[K,N]. A block of rows of C times one or two vectors of columns stays in registers
// while k runs: per k one load of B, one broadcast of A per row and one FMA per row and vector. 6 rows x 2
// vectors or 12 rows x 1 vector are 12 independent chains, enough to hide the FMA's latency, and leave room
// for B and the broadcast in 16 registers. A is read one element at a time, so any strides do: its
// transpose is free.
#pragma once

#include "kernels/cpu/simd.h"

namespace imago::cpu {

/// A matrix whose element (i, k) is data[i * row + k * column].
struct Strided {
  const float* data;
  int64_t row, column;
};

template <int kRows, int kVectors, bool kAdd>
inline void gemm_block(Strided a, const float* b, int64_t ldb, float* c, int64_t ldc, int64_t depth) {
  Vec sum[kRows][kVectors];
#pragma GCC unroll 16
  for (int i = 0; i < kRows; ++i) {
#pragma GCC unroll 2
    for (int v = 0; v < kVectors; ++v) sum[i][v] = kAdd ? load(c + i * ldc + v * kLanes) : Vec{};
  }
  for (int64_t k = 0; k < depth; ++k) {
    Vec row[kVectors];
#pragma GCC unroll 2
    for (int v = 0; v < kVectors; ++v) row[v] = load(b + k * ldb + v * kLanes);
#pragma GCC unroll 16
    for (int i = 0; i < kRows; ++i) {
      const float factor = a.data[i * a.row + k * a.column];
#pragma GCC unroll 2
      for (int v = 0; v < kVectors; ++v) sum[i][v] += factor * row[v];
    }
  }
#pragma GCC unroll 16
  for (int i = 0; i < kRows; ++i) {
#pragma GCC unroll 2
    for (int v = 0; v < kVectors; ++v) store(c + i * ldc + v * kLanes, sum[i][v]);
  }
}

/// All rows of one column block: as many blocks of kRows as fit, then halves.
template <int kRows, int kVectors, bool kAdd>
inline void gemm_rows(Strided& a, const float* b, int64_t ldb, float*& c, int64_t ldc, int64_t& rows,
                      int64_t depth) {
  for (; rows >= kRows; rows -= kRows) {
    gemm_block<kRows, kVectors, kAdd>(a, b, ldb, c, ldc, depth);
    a.data += kRows * a.row;
    c += kRows * ldc;
  }
  if constexpr (kRows > 1) gemm_rows<kRows / 2, kVectors, kAdd>(a, b, ldb, c, ldc, rows, depth);
}

/// C = A B, or C += A B with kAdd. a: [rows, depth], b: [depth, columns] with ldb, c: [rows, columns] with
/// ldc; columns a multiple of kLanes.
template <bool kAdd>
inline void gemm_tile(Strided a, const float* b, int64_t ldb, float* c, int64_t ldc, int64_t rows,
                      int64_t columns, int64_t depth) {
  int64_t j = 0;
  for (; j + 2 * kLanes <= columns; j += 2 * kLanes) {
    Strided left = a;
    float* out = c + j;
    int64_t m = rows;
    gemm_rows<6, 2, kAdd>(left, b + j, ldb, out, ldc, m, depth);
  }
  if (j < columns) {
    float* out = c + j;
    gemm_rows<12, 1, kAdd>(a, b + j, ldb, out, ldc, rows, depth);
  }
}

}  // namespace imago::cpu
