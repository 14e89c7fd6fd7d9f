// What happens to a finished tile of convolution, eight neighbouring channels of one pixel at a time: the
// same for every kernel that computes such tiles.
#pragma once

#include "kernels/backend.h"
#include "kernels/cuda/convolution/conv2d_tiling.h"
#include "kernels/cuda/device/vec.h"

namespace imago::IMAGO_CUDA_NAMESPACE {

/// v += eight elements from `at` on; nothing where there is no tensor.
template <class U>
__device__ __forceinline__ void add8(float (&v)[8], const U* from, int64_t at) {
  if (!from) return;
  float more[8];
  load8(from + at, more);
#pragma unroll
  for (int e = 0; e < 8; ++e) v[e] += more[e];
}

/// Forward: y = (sum + bias + per_image_bias + residual) * scale, y [pixels,K]. Absent parts are null.
template <class T>
struct ForwardOut {
  T* y;
  const float* bias;        // [K]
  const T* per_image_bias;  // [N,K]
  const T* residual;        // [lines,K]
  float scale;
  int lines, columns;  // pixels, K
  Divisor image;       // pixels of one image
  bool vector;         // K is a multiple of 8 and everything is aligned

  __device__ __forceinline__ void operator()(int pixel, int k, float (&v)[8]) const {
    if (vector) {
      float more[8] = {};
      if (const T* const from = added(pixel, k)) load8(from, more);
      put8(pixel, k, v, more);
    } else {
      const int64_t at = static_cast<int64_t>(pixel) * columns + k;
      const int64_t at_image = static_cast<int64_t>(image.divide(pixel)) * columns + k;
#pragma unroll
      for (int e = 0; e < 8; ++e) {
        if (k + e >= columns) break;
        float f = v[e];
        if (bias) f += bias[k + e];
        if (per_image_bias) f += to_float(per_image_bias[at_image + e]);
        if (residual) f += to_float(residual[at + e]);
        y[at + e] = from_float<T>(f * scale);
      }
    }
  }

  // ---- In eights, for who knows that `vector` holds ----

  /// Where the residual's lie; null without one.
  __device__ __forceinline__ const T* added(int pixel, int k) const {
    return residual ? residual + static_cast<int64_t>(pixel) * columns + k : nullptr;
  }
  /// y, with the residual's values in `more`: zeros without one.
  __device__ __forceinline__ void put8(int pixel, int k, float (&v)[8], const float (&more)[8]) const {
    add8(v, bias, k);
    add8(v, per_image_bias, static_cast<int64_t>(image.divide(pixel)) * columns + k);
#pragma unroll
    for (int e = 0; e < 8; ++e) v[e] = (v[e] + more[e]) * scale;
    store8_global(y + static_cast<int64_t>(pixel) * columns + k, v);
  }
};

/// dgrad: dx = so_far + scale * sum, in one or two tensors, for the pixels of one residue
/// class (see conv2d_dgrad.cu).
template <class T>
struct DgradOut {
  T *a, *b;
  const T *so_far_a, *so_far_b;  // like a and b; may be null
  int channels_a, channels_b;
  float scale;
  int lines, columns;          // pixels of the class, C
  Divisor image, image_width;  // of the class
  int height, width, stride, first_h, first_w;
  bool vector;  // both channel counts are multiples of 8, all tensors aligned

  __device__ __forceinline__ void operator()(int m, int c, float (&v)[8]) const {
    int n, p, i, j;
    image.split(m, n, p);
    image_width.split(p, i, j);
    const int64_t pixel =
        (static_cast<int64_t>(n) * height + first_h + i * stride) * width + first_w + j * stride;
    if (vector) {
      float more[8] = {};
      if (const T* const from = added(pixel, c)) load8(from, more);
      put8(pixel, c, v, more);
    } else {
#pragma unroll
      for (int e = 0; e < 8; ++e) {
        if (c + e >= columns) break;
        const bool second = c + e >= channels_a;
        const int64_t to = at(pixel, c + e, second);
        const T* const so_far = second ? so_far_b : so_far_a;
        const float sum = v[e] * scale;
        (second ? b : a)[to] = from_float<T>(so_far ? sum + to_float(so_far[to]) : sum);
      }
    }
  }

  // ---- In eights, for who knows that `vector` holds; `pixel` of dx ----

  /// Where those of so_far lie; null without.
  __device__ __forceinline__ const T* added(int64_t pixel, int c) const {
    const bool second = c >= channels_a;
    const T* const so_far = second ? so_far_b : so_far_a;
    return so_far ? so_far + at(pixel, c, second) : nullptr;
  }
  /// dx, with the values of so_far in `more`: zeros without.
  __device__ __forceinline__ void put8(int64_t pixel, int c, float (&v)[8], const float (&more)[8]) const {
    const bool second = c >= channels_a;
#pragma unroll
    for (int e = 0; e < 8; ++e) v[e] = v[e] * scale + more[e];
    store8_global((second ? b : a) + at(pixel, c, second), v);
  }

 private:
  __device__ __forceinline__ int64_t at(int64_t pixel, int c, bool second) const {
    return second ? pixel * channels_b + (c - channels_a) : pixel * channels_a + c;
  }
};

/// Where the sums of wgrad go, for its three kernels. Either the gradients themselves, dw [K,(R,S,C)] and
/// dbias [K], to which scaled sums are added, or scratch memory in which every part of the pixels keeps its
/// own sums: [parts,K,(R,S,C)] and [parts,shares,K].
struct WgradTarget {
  float* dw;
  float* dbias;  // null: nobody wants it
  float scale;
  int outputs, columns;  // K, R * S * C
  bool in_parts;
  int shares;  // so many tiles of columns, the first, take turns in summing dy; 0 without dbias

  __host__ __device__ int64_t weights() const { return int64_t{outputs} * columns; }
  __device__ __forceinline__ float* dw_of(int part) const { return in_parts ? dw + part * weights() : dw; }
  __device__ __forceinline__ void put(float* at, float sum) const {
    *at = in_parts ? sum : *at + scale * sum;
  }
  __device__ __forceinline__ void put_bias(int part, int share, int k, float sum) const {
    put(dbias + (in_parts ? (int64_t{part} * shares + share) * outputs : 0) + k, sum);
  }
};

}  // namespace imago::IMAGO_CUDA_NAMESPACE
