// Attention, backward. With P recomputed from the saved log-sum-exp (Dao 2022, algorithm 4):
//   P = exp(scale q k^T - lse);  dv = P^T dy;  dP = dy v^T;  delta = rowsum(dy * y);
//   dS = P * (dP - delta);  dq = scale dS k;  dk = scale dS^T q.
//
// One thread does one head of one image: for every tile of 64 keys all queries pass by, 64 at a time. dk
// and dv of the tile are complete when they have; dq adds up over the tiles in the head's own float32 buffer.
// No atomics, no partial sums to join, and a fixed order whatever the number of threads. The five products
// are all C (+)= A B with vectors along the columns of B (gemm_tile.h): for the scores the keys (values) are
// packed transposed, and P^T, dS^T are the same tiles read with their strides exchanged.
//
// Measured (Zen 2, processor time of both threads together, neighbours busy; bench/bench_kernels.cpp): batch
// 16, 256 tokens, width 128, float32: 52 ms in 16 heads of 8, 23 ms in one head.
#include <utility>

#include "kernels/cpu/attention/attention.h"
#include "kernels/cpu/cpu_backend.h"
#include "kernels/cpu/simd_math.h"

namespace imago {

using namespace cpu;

namespace {

/// One head, packed, and its gradients. [T..]: padded to whole tiles.
struct HeadBuffers {
  float *q, *k, *dy;                    // [T, padded D]; q is scaled
  float *k_columns, *v_columns;         // [tiles, D, 64]
  float *dq, *dk, *dv;                  // [T, padded D], [64, padded D], [64, padded D]
  float *probability, *score_gradient;  // [64, 64]
  float* delta;                         // [T]

  static int64_t floats(const AttentionShape& s) {
    return 4 * s.rows_size() + 2 * s.columns_size() + 2 * kKeyTile * s.padded_dim +
           2 * kQueryTile * kKeyTile + s.padded_tokens;
  }
  HeadBuffers(const AttentionShape& s, float* memory) {
    auto take = [&](int64_t count) { return std::exchange(memory, memory + count); };
    q = take(s.rows_size()), k = take(s.rows_size()), dy = take(s.rows_size()), dq = take(s.rows_size());
    k_columns = take(s.columns_size()), v_columns = take(s.columns_size());
    dk = take(kKeyTile * s.padded_dim), dv = take(kKeyTile * s.padded_dim);
    probability = take(kQueryTile * kKeyTile), score_gradient = take(kQueryTile * kKeyTile);
    delta = take(s.padded_tokens);
  }
};

/// Scores become P, products dy v^T become dS, in place. Columns past the last key become zero.
void differentiate_tile(const HeadBuffers& b, const float* lse, int64_t first, int64_t count, int64_t valid,
                        int64_t columns) {
  for (int64_t i = 0; i < count; ++i) {
    float *p = b.probability + i * kKeyTile, *ds = b.score_gradient + i * kKeyTile;
    const float top = lse[first + i], delta = b.delta[first + i];
    for (int64_t j = 0; j < columns; j += kLanes) {
      const Vec probability = cpu::exp(load(p + j) - top);
      store(p + j, probability);
      store(ds + j, probability * (load(ds + j) - delta));
    }
    std::fill(p + valid, p + columns, 0.0f);
    std::fill(ds + valid, ds + columns, 0.0f);
  }
}

/// rows [count, padded D] of float32 out to one head of y [T, heads*D].
template <class T>
void write_rows(const AttentionShape& s, const float* rows, int64_t count, float factor, T* y) {
  for (int64_t t = 0; t < count; ++t) {
    vector_loop(0, s.head_dim, [&](int64_t d, int64_t lanes) {
      store_up_to(y + t * s.width() + d, factor * load(rows + t * s.padded_dim + d), lanes);
    });
  }
}

template <class T>
void differentiate_head(const AttentionShape& s, const HeadBuffers& b, const float* lse, float scale, T* dq,
                        T* dk, T* dv) {
  const int64_t dim = s.head_dim, padded = s.padded_dim;
  std::fill(b.dq, b.dq + s.rows_size(), 0.0f);
  for (int64_t key = 0; key < s.tokens; key += kKeyTile) {
    const int64_t valid = std::min(kKeyTile, s.tokens - key), columns = round_up(valid, kLanes);
    std::fill(b.dk, b.dk + kKeyTile * padded, 0.0f);
    std::fill(b.dv, b.dv + kKeyTile * padded, 0.0f);
    for (int64_t query = 0; query < s.tokens; query += kQueryTile) {
      const int64_t count = std::min(kQueryTile, s.tokens - query);
      const float *q = b.q + query * padded, *dy = b.dy + query * padded;
      gemm_tile<false>({q, padded, 1}, b.k_columns + key * dim, kKeyTile, b.probability, kKeyTile, count,
                       columns, dim);
      gemm_tile<false>({dy, padded, 1}, b.v_columns + key * dim, kKeyTile, b.score_gradient, kKeyTile, count,
                       columns, dim);
      differentiate_tile(b, lse, query, count, valid, columns);
      gemm_tile<true>({b.probability, 1, kKeyTile}, dy, padded, b.dv, padded, valid, padded, count);
      gemm_tile<true>({b.score_gradient, 1, kKeyTile}, q, padded, b.dk, padded, valid, padded, count);
      gemm_tile<true>({b.score_gradient, kKeyTile, 1}, b.k + key * padded, padded, b.dq + query * padded,
                      padded, count, padded, valid);
    }
    write_rows(s, b.dk, valid, 1.0f, dk + key * s.width());  // the scale is in q already
    write_rows(s, b.dv, valid, 1.0f, dv + key * s.width());
  }
  write_rows(s, b.dq, s.tokens, scale, dq);
}

/// delta[t] = sum_d dy[t,d] y[t,d]
template <class T>
void row_products(const AttentionShape& s, const T* dy, const T* y, float* delta) {
  for (int64_t t = 0; t < s.tokens; ++t) {
    Vec sum = {};
    vector_loop(t * s.width(), t * s.width() + s.head_dim, [&](int64_t i, int64_t lanes) {
      sum += load_up_to(dy + i, lanes) * load_up_to(y + i, lanes);
    });
    delta[t] = sum_of(sum);
  }
}

}  // namespace

void CpuBackend::attention_backward(ConstTensorRef dy, ConstTensorRef q, ConstTensorRef k, ConstTensorRef v,
                                    ConstTensorRef y, ConstTensorRef lse, int heads, float scale,
                                    TensorRef dq, TensorRef dk, TensorRef dv, Workspace& workspace) {
  const AttentionShape s(q.shape, heads);
  if (dq.numel() == 0) return;
  const int64_t head_size = round_up(HeadBuffers::floats(s), 64), threads = max_threads();
  Scratch scratch(workspace, Scratch::bytes_of<float>(threads * head_size));
  float* memory = scratch.take<float>(threads * head_size);
  dispatch("attention_backward", q.dtype, [&]<class T>() {
    parallel_items(s.images * s.heads, [&](int64_t item) {
      const HeadBuffers b(s, memory + thread_index() * head_size);
      const int64_t head = s.head(item / s.heads, item % s.heads);
      pack_rows(s, q.as<T>() + head, scale, b.q);
      pack_rows(s, k.as<T>() + head, 1.0f, b.k);
      pack_rows(s, dy.as<T>() + head, 1.0f, b.dy);
      pack_columns(s, k.as<T>() + head, b.k_columns);
      pack_columns(s, v.as<T>() + head, b.v_columns);
      row_products(s, dy.as<T>() + head, y.as<T>() + head, b.delta);
      differentiate_head(s, b, lse.as<float>() + item * s.tokens, scale, dq.as<T>() + head, dk.as<T>() + head,
                         dv.as<T>() + head);
    });
  });
}

}  // namespace imago
