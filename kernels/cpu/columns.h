// Sums down the columns of a matrix of pixels x channels: what GroupNorm and bias gradients are made of.
//
// Channels lie next to each other, so vectors run along them and every lane is a column of its own: no sum
// over lanes, and four vectors at a time keep their accumulators in registers while the rows stream by.
#pragma once

#include "kernels/cpu/parallel.h"

namespace imago::cpu {

/// Rows a chunk: about 16384 elements (64 KiB, so that a second pass finds them in cache), at least 16 rows.
inline int64_t rows_per_chunk(int64_t columns) {
  return std::max<int64_t>(16, kGrain / std::max<int64_t>(columns, 1));
}

/// body.template operator()<V>(c, lanes) for column blocks of V vectors: 4, then 1; lanes counts the valid
/// columns of the last vector.
template <class F>
inline void column_blocks(int64_t columns, F&& body) {
  int64_t c = 0;
  for (; c + 4 * kLanes <= columns; c += 4 * kLanes) body.template operator()<4>(c, int64_t{kLanes});
  for (; c < columns; c += kLanes) {
    body.template operator()<1>(c, std::min<int64_t>(kLanes, columns - c));
  }
}

/// sum[c] = sum over rows of x[row,c]. x [rows, columns] with `stride` elements from row to row.
template <class T>
void column_sums(const T* x, int64_t rows, int64_t columns, int64_t stride, float* sum) {
  column_blocks(columns, [&]<int V>(int64_t c, int64_t lanes) {
    Vec s[V] = {};
    for (int64_t row = 0; row < rows; ++row) {
      const T* p = x + row * stride + c;
      for (int v = 0; v < V; ++v) s[v] += load_up_to(p + v * kLanes, lanes);
    }
    for (int v = 0; v < V; ++v) store_up_to(sum + c + v * kLanes, s[v], lanes);
  });
}

/// Floats of scratch that sum_pixels needs.
inline int64_t partial_sums(int64_t images, int64_t pixels, int64_t channels) {
  return images * ceil_div(pixels, rows_per_chunk(channels)) * channels;
}

/// f(n, k, sum_p x[n,p,k]) for x [images,pixels,channels]: chunks of rows in float32, joined in
/// order in float64.
template <class T, class F>
void sum_pixels(const T* x, int64_t images, int64_t pixels, int64_t channels, float* partial, F&& f) {
  const int64_t rows = rows_per_chunk(channels), chunks = ceil_div(pixels, rows);
  parallel_items(images * chunks, [&](int64_t item) {
    const int64_t n = item / chunks, first = item % chunks * rows;
    column_sums(x + (n * pixels + first) * channels, std::min(rows, pixels - first), channels, channels,
                partial + item * channels);
  });
  for (int64_t n = 0; n < images; ++n) {
    for (int64_t k = 0; k < channels; ++k) {
      double sum = 0;
      for (int64_t i = 0; i < chunks; ++i) sum += partial[(n * chunks + i) * channels + k];
      f(n, k, sum);
    }
  }
}

/// sum[c] = sum over rows of (x - center[c]), square[c] = sum of its square.
template <class T>
void column_moments(const T* x, int64_t rows, int64_t columns, int64_t stride, const float* center,
                    float* sum, float* square) {
  column_blocks(columns, [&]<int V>(int64_t c, int64_t lanes) {
    Vec s[V] = {}, q[V] = {}, m[V];
    for (int v = 0; v < V; ++v) m[v] = load_up_to(center + c + v * kLanes, lanes);
    for (int64_t row = 0; row < rows; ++row) {
      const T* p = x + row * stride + c;
      for (int v = 0; v < V; ++v) {
        const Vec d = load_up_to(p + v * kLanes, lanes) - m[v];
        s[v] += d;
        q[v] += d * d;
      }
    }
    for (int v = 0; v < V; ++v) {
      store_up_to(sum + c + v * kLanes, s[v], lanes);
      store_up_to(square + c + v * kLanes, q[v], lanes);
    }
  });
}

}  // namespace imago::cpu
