// Products of small matrices that lie in cache: the inner loops of attention and of Winograd's convolutions.
//
// C[M,N] (+)= A[M,K] B[K,N]. A block of rows of C times one or two vectors of columns stays in registers
// while k runs: per k one load of B a vector, one broadcast of A a row, and one FMA for each pair. Six rows x
// two vectors leave room for B and the broadcast in 16 registers, eight x two in the 32 of AVX-512, and are
// chains enough to hide the FMA's latency, as are eight rows of one vector. Rows are cut into blocks as equal
// as can be: two or three rows left over would wait for their few chains as long as six for theirs.
#pragma once

#include <utility>

#include "kernels/cpu/simd.h"

namespace imago::cpu {

/// A matrix whose element (i, k) is data[i * stride + k], read one element at a time.
struct RowMajor {
  const float* data;
  int64_t stride;

  float at(int64_t i, int64_t k) const { return data[i * stride + k]; }
  RowMajor from_row(int64_t i) const { return {data + i * stride, stride}; }
};

/// A matrix whose element (i, k) is data[i + k * stride].
struct ColumnMajor {
  const float* data;
  int64_t stride;

  float at(int64_t i, int64_t k) const { return data[i + k * stride]; }
  ColumnMajor from_row(int64_t i) const { return {data + i, stride}; }
};

template <int kRows, int kVectors, bool kAdd, class Left>
inline void gemm_block(Left a, const float* b, int64_t ldb, float* c, int64_t ldc, int64_t depth) {
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
      const float factor = a.at(i, k);
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

/// All rows of kVectors vectors of columns, in blocks of at most kMost rows.
template <int kMost, int kVectors, bool kAdd, class Left>
inline void gemm_rows(Left a, const float* b, int64_t ldb, float* c, int64_t ldc, int64_t rows,
                      int64_t depth) {
  const int64_t blocks = (rows + kMost - 1) / kMost, least = blocks ? rows / blocks : 0;
  const int64_t longer = rows - blocks * least;  // blocks with one row more
  for (int64_t block = 0; block < blocks; ++block) {
    const int64_t count = least + (block < longer);
    [&]<int... i>(std::integer_sequence<int, i...>) {
      ((count == kMost - i ? gemm_block<kMost - i, kVectors, kAdd>(a, b, ldb, c, ldc, depth) : void()), ...);
    }
    (std::make_integer_sequence<int, kMost>());
    a = a.from_row(count);
    c += count * ldc;
  }
}

/// C = A B, or C += A B with kAdd. a: [rows, depth], b: [depth, columns] with ldb, c: [rows, columns] with
/// ldc; columns a multiple of kLanes.
template <bool kAdd, class Left>
inline void gemm_tile(Left a, const float* b, int64_t ldb, float* c, int64_t ldc, int64_t rows,
                      int64_t columns, int64_t depth) {
  constexpr int kMostOfTwo = kLanes == 16 ? 8 : 6;
  int64_t j = 0;
  for (; j + 2 * kLanes <= columns; j += 2 * kLanes) {
    gemm_rows<kMostOfTwo, 2, kAdd>(a, b + j, ldb, c + j, ldc, rows, depth);
  }
  if (j < columns) gemm_rows<8, 1, kAdd>(a, b + j, ldb, c + j, ldc, rows, depth);
}

}  // namespace imago::cpu
