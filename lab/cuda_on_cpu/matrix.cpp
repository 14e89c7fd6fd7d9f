// ldmatrix, stmatrix and mma.sync: register fragments as the PTX ISA draws them. In its figures lane l
// belongs to group g = l / 4 and has number t = l % 4 in it.
#include <cmath>
#include <cstring>

#include "lab/cuda_on_cpu/worker.h"

namespace imago::cuda_on_cpu::emu {
namespace {

float low(uint32_t v) {
  const uint32_t u = v << 16;
  float f;
  __builtin_memcpy(&f, &u, 4);
  return f;
}
float high(uint32_t v) {
  const uint32_t u = v & 0xffff0000u;
  float f;
  __builtin_memcpy(&f, &u, 4);
  return f;
}
float tf32(uint32_t v) {  // the hardware ignores the low 13 bits
  const uint32_t u = v & ~0x1fffu;
  float f;
  __builtin_memcpy(&f, &u, 4);
  return f;
}

struct Matrices {
  int n;
  bool transposed;
  const uint32_t* in;  // load: the lane's row; store: the lane's fragment
};

uint16_t half_of(const uint32_t* row, int column) {
  return static_cast<uint16_t>(row[column / 2] >> 16 * (column % 2));
}

// Lane l receives elements (g, 2t) and (g, 2t+1) of each matrix, or (2t, g) and (2t+1, g) when transposed.
void combine_load(Meeting& m) {
  const auto& op = *static_cast<const Matrices*>(m.in[0]);
  for (int matrix = 0; matrix < op.n; ++matrix) {
    const uint32_t* rows[8];
    for (int r = 0; r < 8; ++r) rows[r] = static_cast<const Matrices*>(m.in[8 * matrix + r])->in;
    for (int l = 0; l < 32; ++l) {
      const int g = l / 4, t = l % 4;
      static_cast<uint32_t*>(m.out[l])[matrix] =
          op.transposed ? half_of(rows[2 * t], g) | uint32_t{half_of(rows[2 * t + 1], g)} << 16 : rows[g][t];
    }
  }
}

void combine_store(Meeting& m) {
  const auto& op = *static_cast<const Matrices*>(m.in[0]);
  for (int matrix = 0; matrix < op.n; ++matrix) {
    uint32_t* rows[8];
    for (int r = 0; r < 8; ++r) rows[r] = static_cast<uint32_t*>(m.out[8 * matrix + r]);
    for (int l = 0; l < 32; ++l) {
      const int g = l / 4, t = l % 4;
      const uint32_t v = static_cast<const Matrices*>(m.in[l])->in[matrix];
      if (!op.transposed) {
        rows[g][t] = v;
        continue;
      }
      for (int h = 0; h < 2; ++h) {
        uint32_t& word = rows[2 * t + h][g / 2];
        const int shift = 16 * (g % 2);
        word = (word & ~(0xffffu << shift)) | (v >> 16 * h & 0xffffu) << shift;
      }
    }
  }
}

struct Mma {
  const float* d;
  const uint32_t *a, *b;
};

// C += A B over the fragments of one warp. kPerWord: elements in a 32-bit register (2 for bf16, 1 for tf32).
template <int kDepth, int kPerWord>
void combine_mma(Meeting& m) {
  float a[16][kDepth], b[kDepth][8], c[16][8];
  for (int l = 0; l < 32; ++l) {
    const Mma& x = *static_cast<const Mma*>(m.in[l]);
    const int g = l / 4, t = l % 4;
    for (int q = 0; q < 4; ++q) {
      const int row = g + 8 * (q % 2), column = kPerWord * (t + 4 * (q / 2));
      if constexpr (kPerWord == 2)
        a[row][column] = low(x.a[q]), a[row][column + 1] = high(x.a[q]);
      else
        a[row][column] = tf32(x.a[q]);
      c[g + 8 * (q / 2)][2 * t + q % 2] = x.d[q];
    }
    for (int q = 0; q < 2; ++q) {
      const int row = kPerWord * (t + 4 * q);
      if constexpr (kPerWord == 2)
        b[row][g] = low(x.b[q]), b[row + 1][g] = high(x.b[q]);
      else
        b[row][g] = tf32(x.b[q]);
    }
  }
  for (int r = 0; r < 16; ++r) {
    float sum[8];
    for (int n = 0; n < 8; ++n) sum[n] = c[r][n];
    for (int k = 0; k < kDepth; ++k)
      for (int n = 0; n < 8; ++n) sum[n] += a[r][k] * b[k][n];
    for (int n = 0; n < 8; ++n) c[r][n] = sum[n];
  }
  for (int l = 0; l < 32; ++l)
    for (int q = 0; q < 4; ++q)
      static_cast<float*>(m.out[l])[q] = c[l / 4 + 8 * (q / 2)][2 * (l % 4) + q % 2];
}

}  // namespace

void check_row(const char* op, const void* row, SourceLine where) {
  if (reinterpret_cast<uintptr_t>(row) % 16)
    die(where, "%s: the row address %p is not 16-byte aligned", op, row);
  if (!worker->shared.contains(row, 16))
    die(where, "%s: the row address %p is not in shared memory", op, row);
}

void load_matrix(int n, bool transposed, const uint32_t row[4], uint32_t* fragment, SourceLine where) {
  const Matrices op{n, transposed, row};
  worker->meet(transposed ? "ldmatrix.trans" : "ldmatrix", ~0u, true, false, &op, fragment, combine_load,
               where);
}

void store_matrix(int n, bool transposed, const uint32_t* fragment, uint32_t row[4], SourceLine where) {
  const Matrices op{n, transposed, fragment};
  worker->meet(transposed ? "stmatrix.trans" : "stmatrix", ~0u, true, false, &op, row, combine_store, where);
}

void mma_m16n8k16_bf16(float d[4], const uint32_t a[4], const uint32_t b[2], SourceLine where) {
  const Mma op{d, a, b};
  worker->meet("mma.m16n8k16.bf16", ~0u, true, false, &op, d, combine_mma<16, 2>, where);
}

void mma_m16n8k8_tf32(float d[4], const uint32_t a[4], const uint32_t b[2], SourceLine where) {
  const Mma op{d, a, b};
  worker->meet("mma.m16n8k8.tf32", ~0u, true, false, &op, d, combine_mma<8, 1>, where);
}

float round_to_tf32(float f) {  // cvt.rna: to nearest, ties away from zero
  uint32_t u;
  __builtin_memcpy(&u, &f, 4);
  if ((u & 0x7f800000u) != 0x7f800000u) u = (u + 0x1000u) & ~0x1fffu;
  __builtin_memcpy(&f, &u, 4);
  return f;
}

}  // namespace imago::cuda_on_cpu::emu
