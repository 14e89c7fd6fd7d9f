// Attention, forward: per image and head P = softmax(scale q k^T), y = P v (Vaswani 2017, eq. 1).
//
// Tiled as in Dao 2022 (FlashAttention, algorithm 1): 64 queries meet 64 keys at a time; the scores live in a
// 16 KiB tile, each query keeps its running maximum m, its running sum l of exp(s - m), and an accumulator of
// y that is rescaled by exp(m_old - m_new) when the maximum rises. The T x T matrix never exists.
//
// Vectors run along the keys for q k^T (k packed transposed) and along d for P v, so head dims from 8 up fill
// them. Packing also widens bfloat16 to float32, once a head. Work is shared out by (image, head, 64
// queries), which is enough even for one image with one head.
//
// Measured (Zen 2, processor time of both threads together, neighbours busy; bench/bench_kernels.cpp): batch
// 16, 256 tokens, width 128, float32: 34 ms in 16 heads of 8, 11 ms in one head.
#include <cmath>

#include "kernels/cpu/attention/attention.h"
#include "kernels/cpu/cpu_backend.h"
#include "kernels/cpu/simd_math.h"

namespace imago {

using namespace cpu;

namespace {

constexpr float kMinusInfinity = -__builtin_inff();

/// What one thread needs for one block of queries.
struct QueryBlock {
  float* q;      // [64, D], scaled
  float* score;  // [64, 64]
  float* y;      // [64, padded D]
  float maximum[kQueryTile], sum[kQueryTile];

  static int64_t floats(const AttentionShape& s) {
    return kQueryTile * (s.head_dim + kKeyTile + s.padded_dim);
  }
  QueryBlock(const AttentionShape& s, float* memory)
      : q(memory), score(q + kQueryTile * s.head_dim), y(score + kQueryTile * kKeyTile) {
    std::fill(y, y + kQueryTile * s.padded_dim, 0.0f);
    std::fill(maximum, maximum + kQueryTile, kMinusInfinity);
    std::fill(sum, sum + kQueryTile, 0.0f);
  }
};

/// Row i of the score tile becomes exp(s - m); m, l and y follow. columns: a multiple of kLanes.
void soften_row(QueryBlock& block, int64_t i, int64_t columns, int64_t padded_dim) {
  float* row = block.score + i * kKeyTile;
  Vec top = load(row);
  for (int64_t j = kLanes; j < columns; j += kLanes) top = maximum(top, load(row + j));
  const float old = block.maximum[i], now = std::max(old, max_of(top));
  Vec sum = {};
  for (int64_t j = 0; j < columns; j += kLanes) {
    const Vec p = cpu::exp(load(row + j) - now);
    store(row + j, p);
    sum += p;
  }
  if (now > old) {
    const float shrink = std::exp(old - now);
    block.maximum[i] = now;
    block.sum[i] *= shrink;
    float* y = block.y + i * padded_dim;
    for (int64_t d = 0; d < padded_dim; d += kLanes) store(y + d, shrink * load(y + d));
  }
  block.sum[i] += sum_of(sum);
}

/// Queries [first, first + count) of one head against all its keys.
template <class T>
void attend(const AttentionShape& s, const float* keys, const float* values, const T* q, float scale,
            int64_t first, int64_t count, float* memory, T* y, float* lse) {
  QueryBlock block(s, memory);
  for (int64_t i = 0; i < count; ++i) {
    for (int64_t d = 0; d < s.head_dim; ++d) {
      block.q[i * s.head_dim + d] = scale * static_cast<float>(q[(first + i) * s.width() + d]);
    }
  }
  for (int64_t key = 0; key < s.tokens; key += kKeyTile) {
    const int64_t valid = std::min(kKeyTile, s.tokens - key), columns = round_up(valid, kLanes);
    gemm_tile<false>({block.q, s.head_dim, 1}, keys + key * s.head_dim, kKeyTile, block.score, kKeyTile,
                     count, columns, s.head_dim);
    for (int64_t i = 0; i < count; ++i) {
      float* row = block.score + i * kKeyTile;
      std::fill(row + valid, row + columns, kMinusInfinity);
      soften_row(block, i, columns, s.padded_dim);
    }
    gemm_tile<true>({block.score, kKeyTile, 1}, values + key * s.padded_dim, s.padded_dim, block.y,
                    s.padded_dim, count, s.padded_dim, valid);
  }
  for (int64_t i = 0; i < count; ++i) {
    T* out = y + (first + i) * s.width();
    const float inverse = 1.0f / block.sum[i];
    vector_loop(0, s.head_dim, [&](int64_t d, int64_t lanes) {
      store_up_to(out + d, inverse * load(block.y + i * s.padded_dim + d), lanes);
    });
    if (lse) lse[first + i] = block.maximum[i] + std::log(block.sum[i]);
  }
}

}  // namespace

void CpuBackend::attention(ConstTensorRef q, ConstTensorRef k, ConstTensorRef v, int heads, float scale,
                           TensorRef y, TensorRef lse, Workspace& workspace) {
  const AttentionShape s(q.shape, heads);
  const int64_t all_heads = s.images * s.heads, blocks = ceil_div(s.tokens, kQueryTile);
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
      const int64_t which = item / blocks, first = item % blocks * kQueryTile;
      const int64_t head = s.head(which / s.heads, which % s.heads);
      attend(s, keys + which * s.columns_size(), values + which * s.rows_size(), q.as<T>() + head, scale,
             first, std::min(kQueryTile, s.tokens - first), own + thread_index() * block_size,
             y.as<T>() + head, lse ? lse.as<float>() + which * s.tokens : nullptr);
    });
  });
}

}  // namespace imago
