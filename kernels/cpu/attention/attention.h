// What attention's forward and backward share: the tile sizes, and the packing of one head's q, k or v.
#pragma once

#include "kernels/backend.h"
#include "kernels/cpu/gemm_tile.h"
#include "kernels/cpu/parallel.h"
#include "kernels/cpu/scratch.h"

namespace imago::cpu {

/// Queries or keys a tile: a tile of scores is 16 KiB, half of a first-level cache. A multiple of any kLanes.
inline constexpr int64_t kTile = 64;

inline constexpr float kLog2E = 1.44269504f, kLn2 = 0.69314718f;

struct AttentionShape {
  int64_t images, tokens, heads, head_dim;
  int64_t padded_dim;     // head_dim rounded up to whole vectors
  int64_t padded_tokens;  // tokens rounded up to whole key tiles

  AttentionShape(const Shape& q, int heads)
      : images(q[0]),
        tokens(q[1]),
        heads(heads),
        head_dim(q[2] / heads),
        padded_dim(round_up(head_dim, kLanes)),
        padded_tokens(round_up(tokens, kTile)) {}
  int64_t width() const { return heads * head_dim; }  // elements from token to token
  int64_t head(int64_t n, int64_t h) const { return n * tokens * width() + h * head_dim; }
  int64_t rows_size() const { return padded_tokens * padded_dim; }
  int64_t columns_size() const { return padded_tokens * head_dim; }
};

/// f.operator()<n>(i) for pieces of [0, count): n = 4, and 1 for the rest.
template <class F>
inline void by_fours(int64_t count, F&& f) {
  int64_t i = 0;
  for (; i + 4 <= count; i += 4) f.template operator()<4>(i);
  for (; i < count; ++i) f.template operator()<1>(i);
}

/// One head of x [T, heads*D] as float32 rows: out[t, d] = factor * x[t, d], out [padded T, padded D],
/// the padding zero.
template <class T>
void pack_rows(const AttentionShape& s, const T* x, float factor, float* out) {
  for (int64_t t = 0; t < s.tokens; ++t) {
    vector_loop(0, s.head_dim, [&](int64_t d, int64_t lanes) {
      store(out + t * s.padded_dim + d, factor * load_up_to(x + t * s.width() + d, lanes));
    });
  }
  std::fill(out + s.tokens * s.padded_dim, out + s.rows_size(), 0.0f);
}

/// One tile of a head as float32 columns: out[d][j] = factor * x[j, d] for j < count, zero for the rest; out
/// [D, kTile]. Square blocks are transposed in registers.
template <class T>
void pack_tile(const AttentionShape& s, const T* x, int64_t count, float factor, float* out) {
  for (int64_t j = 0; j < kTile; j += kLanes) {
    vector_loop(0, s.head_dim, [&](int64_t d, int64_t lanes) {
      Vec block[kLanes];
      for (int64_t i = 0; i < kLanes; ++i) {
        block[i] = j + i < count ? factor * load_up_to(x + (j + i) * s.width() + d, lanes) : Vec{};
      }
      transpose(block);
      for (int64_t i = 0; i < lanes; ++i) store(out + (d + i) * kTile + j, block[i]);
    });
  }
}

/// All tiles of a head: out [tiles, D, kTile].
template <class T>
void pack_columns(const AttentionShape& s, const T* x, float* out) {
  for (int64_t first = 0; first < s.tokens; first += kTile) {
    pack_tile(s, x + first * s.width(), std::min(kTile, s.tokens - first), 1.0f, out + first * s.head_dim);
  }
}

/// The way back: x[j, d] = columns[d][j] * factor(j) for j < count; factor(j) for kLanes tokens from j on.
template <class T, class Factor>
void unpack_tile(const AttentionShape& s, const float* columns, int64_t count, Factor factor, T* x) {
  vector_loop(0, count, [&](int64_t j, int64_t tokens) {
    const Vec factors = factor(j);
    vector_loop(0, s.head_dim, [&](int64_t d, int64_t lanes) {
      Vec block[kLanes];
      for (int64_t i = 0; i < kLanes; ++i) {
        block[i] = i < lanes ? factors * load(columns + (d + i) * kTile + j) : Vec{};
      }
      transpose(block);
      for (int64_t i = 0; i < tokens; ++i) store_up_to(x + (j + i) * s.width() + d, block[i], lanes);
    });
  });
}

}  // namespace imago::cpu
