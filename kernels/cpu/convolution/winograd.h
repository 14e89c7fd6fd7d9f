// Winograd's convolution F(4x4, 3x3): a 4x4 tile of outputs of a 3x3 filter from 36 products instead of 144.
//
//   y = A^T [ (G g G^T) * (B^T d B) ] A                 (Lavin & Gray 2016, equation 8; * element by element)
//
// g is the 3x3 filter, d the 6x6 window of the input under the tile, y the 4x4 outputs. Summed over input
// channels, each of the 36 positions is a matrix product of its own. In one dimension the algorithm evaluates
// polynomials at five points and infinity (Toom and Cook), multiplies, and interpolates. The points decide
// the rounding. With the usual 0, +-1, +-2 and infinity a sum over 576 products has more than four times the
// error of adding up in order (root mean square, N(0,1) numbers); with
//
//   0, +-a, +-b, infinity,     a = 1/sqrt(2), b = sqrt(2)
//
// about twice (Barabasz et al. 2020 on why points that are near 1 and come with their reciprocals do well).
// The squares of a and b are exact, so only odd parts carry a rounded factor:
//
//         | 1   0  -5/2   0   1   0 |       |   1      0      0  |         | 1   1    1    1    1   0 |
//         | 0 -2a   -2    a   1   0 |       | -2/3  -2a/3   -1/3 |         | 0   a   -a    b   -b   0 |
//   B^T = | 0  2a   -2   -a   1   0 |   G = | -2/3   2a/3   -1/3 |   A^T = | 0  1/2  1/2   2    2   0 |
//         | 0 -b/2 -1/2   b   1   0 |       |  1/6    b/6    1/3 |         | 0  a/2 -a/2  2b  -2b   1 |
//         | 0  b/2 -1/2  -b   1   0 |       |  1/6   -b/6    1/3 |
//         | 0   1   0  -5/2   0   1 |       |   0      0      1  |
//
// The gradient with respect to the data is the same convolution of dy with the filter turned by 180 degrees.
// The gradient with respect to the weights is the transpose of the map from g to y:
//
//   dg = G^T [ (B^T d B) * (A dy A^T) ] G,              summed over tiles before G is applied.
//
// This file: the five maps of one dimension on vectors of channels, their application to both, and the tiles.
#pragma once

#include "kernels/cpu/convolution/conv2d_direct.h"

namespace imago::cpu::winograd {

inline constexpr int kOutputs = 4, kFilter = 3, kPoints = kOutputs + kFilter - 1,
                     kPositions = kPoints * kPoints;
/// A cache line more from one position to the next: the values of a tile at all positions are written and
/// read together, and would otherwise often lie a power of two apart, where a cache has few places.
inline constexpr int64_t kStagger = 16;
inline constexpr float kA = 0.70710678f, kB = 1.41421356f;

/// v = B^T d
inline void input(const Vec (&d)[kPoints], Vec (&v)[kPoints]) {
  v[0] = d[0] - 2.5f * d[2] + d[4];
  const Vec even_a = d[4] - 2.0f * d[2], odd_a = kA * d[3] - (2 * kA) * d[1];
  const Vec even_b = d[4] - 0.5f * d[2], odd_b = kB * d[3] - (0.5f * kB) * d[1];
  v[1] = even_a + odd_a;
  v[2] = even_a - odd_a;
  v[3] = even_b + odd_b;
  v[4] = even_b - odd_b;
  v[5] = d[1] - 2.5f * d[3] + d[5];
}

/// u = G g
inline void filter(const Vec (&g)[kFilter], Vec (&u)[kPoints]) {
  const Vec even_a = (-2.0f / 3) * g[0] - (1.0f / 3) * g[2], odd_a = (-2.0f / 3 * kA) * g[1];
  const Vec even_b = (1.0f / 6) * g[0] + (1.0f / 3) * g[2], odd_b = (1.0f / 6 * kB) * g[1];
  u[0] = g[0];
  u[1] = even_a + odd_a;
  u[2] = even_a - odd_a;
  u[3] = even_b + odd_b;
  u[4] = even_b - odd_b;
  u[5] = g[2];
}

/// y = A^T m
inline void output(const Vec (&m)[kPoints], Vec (&y)[kOutputs]) {
  const Vec sum_a = m[1] + m[2], difference_a = m[1] - m[2];
  const Vec sum_b = m[3] + m[4], difference_b = m[3] - m[4];
  y[0] = m[0] + sum_a + sum_b;
  y[1] = kA * difference_a + kB * difference_b;
  y[2] = 0.5f * sum_a + 2.0f * sum_b;
  y[3] = (0.5f * kA) * difference_a + (2 * kB) * difference_b + m[5];
}

/// q = A dy
inline void output_transposed(const Vec (&dy)[kOutputs], Vec (&q)[kPoints]) {
  const Vec even_a = dy[0] + 0.5f * dy[2], odd_a = kA * dy[1] + (0.5f * kA) * dy[3];
  const Vec even_b = dy[0] + 2.0f * dy[2], odd_b = kB * dy[1] + (2 * kB) * dy[3];
  q[0] = dy[0];
  q[1] = even_a + odd_a;
  q[2] = even_a - odd_a;
  q[3] = even_b + odd_b;
  q[4] = even_b - odd_b;
  q[5] = dy[3];
}

/// dg = G^T p
inline void filter_transposed(const Vec (&p)[kPoints], Vec (&dg)[kFilter]) {
  const Vec sum_a = p[1] + p[2], sum_b = p[3] + p[4];
  dg[0] = p[0] - (2.0f / 3) * sum_a + (1.0f / 6) * sum_b;
  dg[1] = (1.0f / 6 * kB) * (p[3] - p[4]) - (2.0f / 3 * kA) * (p[1] - p[2]);
  dg[2] = (1.0f / 3) * (sum_b - sum_a) + p[5];
}

/// y = M x M^T for one of the maps M above.
template <auto kMap, int kIn, int kOut>
inline void both_ways(const Vec (&x)[kIn][kIn], Vec (&y)[kOut][kOut]) {
  Vec half[kOut][kIn];
#pragma GCC unroll 8
  for (int j = 0; j < kIn; ++j) {
    Vec column[kIn], mapped[kOut];
#pragma GCC unroll 8
    for (int i = 0; i < kIn; ++i) column[i] = x[i][j];
    kMap(column, mapped);
#pragma GCC unroll 8
    for (int i = 0; i < kOut; ++i) half[i][j] = mapped[i];
  }
#pragma GCC unroll 8
  for (int i = 0; i < kOut; ++i) kMap(half[i], y[i]);
}

/// The tiles of a batch of images, 4x4 outputs each; those at the lower and right edges may stand over.
struct Tiles {
  int64_t down, across, count;

  explicit Tiles(const ConvShape& c)
      : down(ceil_div(c.ho, kOutputs)), across(ceil_div(c.wo, kOutputs)), count(c.n * down * across) {}
};

struct Tile {
  int64_t n, row, column;  // its image, its first output

  Tile(const Tiles& all, int64_t index)
      : n(index / (all.down * all.across)),
        row(index / all.across % all.down * kOutputs),
        column(index % all.across * kOutputs) {}
};

/// Where the pixels of a window lie, channel 0; pixels outside the image are `zeros`, as many as channels.
template <int kSize, class T>
struct Window {
  const T* pixel[kSize][kSize];

  /// x [N,h,w,channels]; the window begins at (row, column) of image n.
  Window(const T* x, int64_t h, int64_t w, int64_t channels, int64_t n, int64_t row, int64_t column,
         const T* zeros) {
    for (int i = 0; i < kSize; ++i) {
      for (int j = 0; j < kSize; ++j) {
        const int64_t y = row + i, z = column + j;
        const bool inside = y >= 0 && y < h && z >= 0 && z < w;
        pixel[i][j] = inside ? x + ((n * h + y) * w + z) * channels : zeros;
      }
    }
  }
  /// Channels [c, c + lanes) of all pixels.
  void load(int64_t c, int64_t lanes, Vec (&d)[kSize][kSize]) const {
#pragma GCC unroll 8
    for (int i = 0; i < kSize; ++i) {
#pragma GCC unroll 8
      for (int j = 0; j < kSize; ++j) d[i][j] = load_up_to(pixel[i][j] + c, lanes);
    }
  }
};

}  // namespace imago::cpu::winograd
