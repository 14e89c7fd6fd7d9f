// What attention's forward and backward share: the tile sizes, and the packing of one head's q, k or v.
#pragma once

#include "kernels/backend.h"
#include "kernels/cpu/gemm_tile.h"
#include "kernels/cpu/parallel.h"
#include "kernels/cpu/scratch.h"

namespace imago::cpu {

/// Queries and keys a tile: a tile of scores is 16 KiB, half of a first-level cache. Multiples of any kLanes.
inline constexpr int64_t kQueryTile = 64, kKeyTile = 64;

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
        padded_tokens(round_up(tokens, kKeyTile)) {}
  int64_t width() const { return heads * head_dim; }  // elements from token to token
  int64_t head(int64_t n, int64_t h) const { return n * tokens * width() + h * head_dim; }
  int64_t rows_size() const { return padded_tokens * padded_dim; }
  int64_t columns_size() const { return padded_tokens * head_dim; }
};

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

/// One head as float32 columns, tile by tile: out[tile][d][j] = x[tile * kKeyTile + j, d], padding zero. A
/// score tile then needs vectors along the keys only.
template <class T>
void pack_columns(const AttentionShape& s, const T* x, float* out) {
  for (int64_t first = 0; first < s.padded_tokens; first += kKeyTile) {
    float* tile = out + first * s.head_dim;
    const int64_t count = std::min(kKeyTile, s.tokens - first);
    for (int64_t d = 0; d < s.head_dim; ++d) {
      const T* column = x + first * s.width() + d;
      for (int64_t j = 0; j < count; ++j) tile[d * kKeyTile + j] = static_cast<float>(column[j * s.width()]);
      std::fill(tile + d * kKeyTile + count, tile + (d + 1) * kKeyTile, 0.0f);
    }
  }
}

}  // namespace imago::cpu
