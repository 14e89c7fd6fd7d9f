// Attention, forward: per image and head P = softmax(scale q k^T), y = P v (Vaswani 2017, eq. 1).
//
// Tiled as in Dao 2022 (FlashAttention, algorithm 1): 64 queries meet 64 keys at a time; the scores live in a
// 16 KiB tile, each query keeps its running maximum m, its running sum l of exp(s - m), and an accumulator of
// y that is rescaled by exp(m_old - m_new). The T x T matrix never exists. Scores are in units of ln 2, so
// that the exponential is a power of 2.
//
// Vectors run along the queries everywhere: the tile is S^T = K q^T, y^T += V^T P^T. So m, l and their
// rescaling are plain vectors, no lane is padding however narrow a head, and k and v are read one element at
// a time. For kLanes scores of a head of 8 that is 16 FMAs, 11 loads and some 20 instructions of softmax.
// Packing also widens bfloat16 to float32, once a head. Work is shared out by (image, head, 64 queries),
// which is enough even for one image with one head.
//
// Measured (2 cores of a Zen 1 EPYC with AVX2, FMA limit 77 GFLOP/s, 2026-11-25), both threads: batch 16, 256
// tokens, width 128, float32: 19.5 ms in 16 heads of 8, 9.8 ms in one head. With vectors along the keys for
// the scores and along d for y it is 36 and 10.5 ms.
#include <cmath>

#include "kernels/cpu/attention/attention.h"
#include "kernels/cpu/cpu_backend.h"
#include "kernels/cpu/simd_math.h"

namespace imago {

using namespace cpu;

namespace {

/// What one thread needs for one block of queries. Vectors run along the queries.
struct QueryBlock {
  float* q;        // [D, 64], scaled
  float* score;    // [64 keys, 64]
  float* y;        // [D, 64]
  float* maximum;  // [64]
  float* sum;      // [64]

  static int64_t floats(const AttentionShape& s) { return kTile * (2 * s.head_dim + kTile + 2); }
  QueryBlock(const AttentionShape& s, float* memory)
      : q(memory),
        score(q + s.head_dim * kTile),
        y(score + kTile * kTile),
        maximum(y + s.head_dim * kTile),
        sum(maximum + kTile) {
    std::fill(y, y + s.head_dim * kTile, 0.0f);
    std::fill(maximum, maximum + kTile, -__builtin_inff());
    std::fill(sum, sum + kTile, 0.0f);
  }
};

/// The scores of kLanes queries against a tile of keys become 2^(s - m); m, l and y follow.
void soften(const QueryBlock& block, int64_t query, int64_t keys, int64_t head_dim) {
  float* const score = block.score + query;
  const Vec old = load(block.maximum + query);
  Vec top = old;
  for (int64_t j = 0; j < keys; ++j) top = maximum(load(score + j * kTile), top);
  Vec sum = {};
  by_fours(keys, [&]<int n>(int64_t j) {
    Vec p[n];
    for (int i = 0; i < n; ++i) p[i] = load(score + (j + i) * kTile) - top;
    exp2(p);
    for (int i = 0; i < n; ++i) {
      store(score + (j + i) * kTile, p[i]);
      sum += p[i];
    }
  });
  Vec shrink[] = {old - top};
  exp2(shrink);
  store(block.maximum + query, top);
  store(block.sum + query, shrink[0] * load(block.sum + query) + sum);
  float* const y = block.y + query;
  for (int64_t d = 0; d < head_dim; ++d) store(y + d * kTile, shrink[0] * load(y + d * kTile));
}

/// Queries [first, first + count) of one head against all its keys.
template <class T>
void attend(const AttentionShape& s, const float* keys, const float* values, const T* q, float scale,
            int64_t first, int64_t count, float* memory, T* y, float* lse) {
  const QueryBlock block(s, memory);
  const int64_t columns = round_up(count, kLanes);
  pack_tile(s, q + first * s.width(), count, scale * kLog2E, block.q);
  for (int64_t key = 0; key < s.tokens; key += kTile) {
    const int64_t valid = std::min(kTile, s.tokens - key);
    gemm_tile<false>(ColumnMajor{keys + key * s.head_dim, kTile}, block.q, kTile, block.score, kTile, valid,
                     columns, s.head_dim);
    for (int64_t i = 0; i < columns; i += kLanes) soften(block, i, valid, s.head_dim);
    gemm_tile<true>(ColumnMajor{values + key * s.padded_dim, s.padded_dim}, block.score, kTile, block.y,
                    kTile, s.head_dim, columns, valid);
  }
  unpack_tile(
      s, block.y, count, [&](int64_t i) { return 1.0f / load(block.sum + i); }, y + first * s.width());
  for (int64_t i = 0; lse && i < count; ++i)
    lse[first + i] = kLn2 * block.maximum[i] + std::log(block.sum[i]);
}

}  // namespace

void CpuBackend::attention(ConstTensorRef q, ConstTensorRef k, ConstTensorRef v, int heads, float scale,
                           TensorRef y, TensorRef lse, Workspace& workspace) {
  const AttentionShape s(q.shape, heads);
  const int64_t all_heads = s.images * s.heads, blocks = ceil_div(s.tokens, kTile);
  if (y.numel() == 0) return;
  const int64_t keys_size = all_heads * s.columns_size(), values_size = all_heads * s.rows_size();
  const int64_t block_size = round_up(QueryBlock::floats(s), 64), threads = max_threads();
  Scratch scratch(workspace, Scratch::bytes_of<float>(keys_size) + Scratch::bytes_of<float>(values_size) +
                                 Scratch::bytes_of<float>(threads * block_size));
  float* keys = scratch.take<float>(keys_size);            // [N,heads,tiles,D,64]
  float* values = scratch.take<float>(values_size);        // [N,heads,padded T,padded D]
  float* own = scratch.take<float>(threads * block_size);  // one QueryBlock a thread
  dispatch("attention", q.dtype, [&]<class T>() {
    parallel_items(all_heads, [&](int64_t item) {
      const int64_t head = s.head(item / s.heads, item % s.heads);
      pack_columns(s, k.as<T>() + head, keys + item * s.columns_size());
      pack_rows(s, v.as<T>() + head, 1.0f, values + item * s.rows_size());
    });
    parallel_items(all_heads * blocks, [&](int64_t item) {
      const int64_t which = item / blocks, first = item % blocks * kTile;
      const int64_t head = s.head(which / s.heads, which % s.heads);
      attend(s, keys + which * s.columns_size(), values + which * s.rows_size(), q.as<T>() + head, scale,
             first, std::min(kTile, s.tokens - first), own + thread_index() * block_size, y.as<T>() + head,
             lse ? lse.as<float>() + which * s.tokens : nullptr);
    });
  });
}

}  // namespace imago
