// What attention's tensor-core kernels share: tiles of one head in shared memory, and fragments made of them.
//
// Four warps a block. A warp owns 16 rows (queries, or keys in the backward for k and v) and all columns of a
// tile of scores, so that a row's maximum and sum concern the four lanes of a quad only, and the scores, once
// exponentiated, are already laid out as the left operand of the next product: an accumulator of m16n8k16 and
// its A fragment agree.
#pragma once

#include "kernels/backend.h"
#include "kernels/cuda/attention/attention_tiling.h"
#include "kernels/cuda/device/ptx.h"
#include "kernels/cuda/device/vec.h"
#include "kernels/cuda/runtime/gpu.h"

namespace imago::IMAGO_CUDA_NAMESPACE {

/// One head of one image in a tensor [N,T,heads*D].
struct HeadView {
  const __nv_bfloat16* first;  // token 0
  int64_t stride;              // elements from one token to the next
  int tokens, dim;             // T, D
  bool vector;                 // D in eights and everything aligned: rows are copied sixteen bytes at a time
};

/// A tile [rows][kD] of tokens in shared memory, D padded with zeros to kD. The sixteen-byte chunks of
/// a row are permuted by its number, so that the eight rows of an ldmatrix phase lie in eight
/// different bank groups.
template <int kD>
struct HeadTile {
  static constexpr int kChunks = kD / 8;  // 2, 4, or a multiple of 8
  static __host__ __device__ constexpr int bytes(int rows) { return head_tile_bytes(kD, rows); }
  static __device__ __forceinline__ int offset(int row, int chunk) {
    const int swizzle = kChunks >= 8 ? row & 7 : (row / (8 / kChunks)) & (kChunks - 1);
    return (row * kChunks + (chunk ^ swizzle)) * 16;
  }

  /// Starts copying tokens first_row .. first_row + kRows; what lies behind the last token or
  /// channel becomes zero.
  template <int kRows>
  static __device__ __forceinline__ void load(const HeadView& h, int first_row, unsigned char* tile) {
    for (int id = static_cast<int>(threadIdx.x); id < kRows * kChunks; id += kAttentionThreads) {
      const int row = id / kChunks, chunk = id % kChunks, token = first_row + row;
      unsigned char* const to = tile + offset(row, chunk);
      const bool inside = token < h.tokens && chunk * 8 < h.dim;
      const __nv_bfloat16* from = inside ? h.first + token * h.stride + chunk * 8 : h.first;
      if (h.vector) {
        ptx::cp_async<16>(to, from, inside ? 16 : 0);
      } else {
        float v[8];
        for (int e = 0; e < 8; ++e) v[e] = inside && chunk * 8 + e < h.dim ? to_float(from[e]) : 0.0f;
        store8(reinterpret_cast<__nv_bfloat16*>(to), v);
      }
    }
  }

  /// A fragment of rows `row` .. row + 16, channels 16 k .. 16 k + 16.
  static __device__ __forceinline__ void load_a(uint32_t (&f)[4], const unsigned char* tile, int row, int k) {
    const int lane = static_cast<int>(threadIdx.x) % 32;
    ptx::ldmatrix_x4<false>(f, tile + offset(row + (lane & 15), 2 * k + (lane >> 4)));
  }
  /// Two B fragments (n = rows `row` .. + 8 and + 8 .. + 16; k = channels 16 k ..): for products with
  /// the transposed tile.
  static __device__ __forceinline__ void load_b(uint32_t (&f)[4], const unsigned char* tile, int row, int k) {
    const int lane = static_cast<int>(threadIdx.x) % 32;
    ptx::ldmatrix_x4<false>(f, tile + offset(row + (lane & 7) + (lane >> 4) * 8, 2 * k + ((lane >> 3) & 1)));
  }
  /// Two B fragments (k = rows `row` .. + 16; n = channels 8 chunk .. + 8 and + 8 .. + 16): for products with
  /// the tile itself.
  static __device__ __forceinline__ void load_b_transposed(uint32_t (&f)[4], const unsigned char* tile,
                                                           int row, int chunk) {
    const int lane = static_cast<int>(threadIdx.x) % 32;
    ptx::ldmatrix_x4<true>(f, tile + offset(row + (lane & 15), chunk + (lane >> 4)));
  }
};

/// scores[j] (16 x 8 each) = rows `row` .. + 16 of `a` times rows 8 j .. of `b`, over all channels.
/// kColumns rows of b. Unrolled by 64 channels, after which the swizzle repeats: more, at D = 256,
/// and registers spill.
template <int kD, int kColumns>
__device__ __forceinline__ void multiply_transposed(float (&scores)[kColumns / 8][4], const unsigned char* a,
                                                    int row, const unsigned char* b) {
#pragma unroll
  for (int j = 0; j < kColumns / 8; ++j)
#pragma unroll
    for (int e = 0; e < 4; ++e) scores[j][e] = 0.0f;
#pragma unroll 4
  for (int k = 0; k < kD / 16; ++k) {
    uint32_t fa[4];
    HeadTile<kD>::load_a(fa, a, row, k);
#pragma unroll
    for (int j = 0; j < kColumns / 16; ++j) {
      uint32_t fb[4];
      HeadTile<kD>::load_b(fb, b, 16 * j, k);
      const uint32_t left[2] = {fb[0], fb[1]}, right[2] = {fb[2], fb[3]};
      ptx::mma_m16n8k16_bf16(scores[2 * j], fa, left);
      ptx::mma_m16n8k16_bf16(scores[2 * j + 1], fa, right);
    }
  }
}

/// sum[i] (16 x 8 each) += p (16 x kColumns, as accumulators) times channels first_chunk * 8 + 8 i of `b`'s
/// kColumns rows. p is rounded to bfloat16.
template <int kD, int kColumns, int kWidth>
__device__ __forceinline__ void multiply_add(float (&sum)[kWidth / 8][4], const float (&p)[kColumns / 8][4],
                                             const unsigned char* b, int first_chunk) {
#pragma unroll
  for (int k = 0; k < kColumns / 16; ++k) {
    const uint32_t fa[4] = {pack2(p[2 * k][0], p[2 * k][1]), pack2(p[2 * k][2], p[2 * k][3]),
                            pack2(p[2 * k + 1][0], p[2 * k + 1][1]), pack2(p[2 * k + 1][2], p[2 * k + 1][3])};
#pragma unroll
    for (int i = 0; i < kWidth / 16; ++i) {
      uint32_t fb[4];
      HeadTile<kD>::load_b_transposed(fb, b, 16 * k, first_chunk + 2 * i);
      const uint32_t left[2] = {fb[0], fb[1]}, right[2] = {fb[2], fb[3]};
      ptx::mma_m16n8k16_bf16(sum[2 * i], fa, left);
      ptx::mma_m16n8k16_bf16(sum[2 * i + 1], fa, right);
    }
  }
}

/// Rows `row` + lane / 4 and + 8 of a result times factor[0] and factor[1], to memory: tokens first_token +
/// .., channels from first_channel on. What lies outside is not written.
template <int kWidth>
__device__ __forceinline__ void store_rows(const float (&sum)[kWidth / 8][4], const float (&factor)[2],
                                           __nv_bfloat16* head, const HeadView& h, int first_token,
                                           int first_channel) {
  const int lane = static_cast<int>(threadIdx.x) % 32;
#pragma unroll
  for (int half = 0; half < 2; ++half) {
    const int token = first_token + lane / 4 + 8 * half;
    if (token >= h.tokens) continue;
    __nv_bfloat16* const row = head + token * h.stride;
#pragma unroll
    for (int i = 0; i < kWidth / 8; ++i) {
      const int channel = first_channel + 8 * i + lane % 4 * 2;
      const float a = sum[i][2 * half] * factor[half], b = sum[i][2 * half + 1] * factor[half];
      if (h.vector) {
        if (channel < h.dim) *reinterpret_cast<uint32_t*>(row + channel) = pack2(a, b);
      } else {
        if (channel < h.dim) row[channel] = from_float<__nv_bfloat16>(a);
        if (channel + 1 < h.dim) row[channel + 1] = from_float<__nv_bfloat16>(b);
      }
    }
  }
}

}  // namespace imago::IMAGO_CUDA_NAMESPACE
