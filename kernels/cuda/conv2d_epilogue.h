// What happens to a finished tile of convolution, eight neighbouring channels of one pixel at a time: the
// same for every kernel that computes such tiles.
#pragma once

#include "kernels/backend.h"
#include "kernels/cuda/tiling/conv2d.h"
#include "kernels/cuda/vec.h"

namespace imago::IMAGO_CUDA_NAMESPACE {

/// Forward: y = (sum + bias + per_image_bias + residual) * scale, y [pixels,K]. Absent parts are null.
template <class T>
struct ForwardOut {
  T* y;
  const float* bias;        // [K]
  const T* per_image_bias;  // [N,K]
  const T* residual;        // [lines,K]
  float scale;
  int lines, columns;  // pixels, K
  Divisor image;       // pixels of one picture
  bool vector;         // K is a multiple of 8 and everything is aligned

  __device__ __forceinline__ void operator()(int pixel, int k, float (&v)[8]) const {
    const int64_t at = static_cast<int64_t>(pixel) * columns + k;
    const int64_t at_image = static_cast<int64_t>(image.divide(pixel)) * columns + k;
    if (vector) {
      add8(v, bias, k);
      add8(v, per_image_bias, at_image);
      add8(v, residual, at);
#pragma unroll
      for (int e = 0; e < 8; ++e) v[e] *= scale;
      store8(y + at, v);
    } else {
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
  template <class U>
  static __device__ __forceinline__ void add8(float (&v)[8], const U* from, int64_t at) {
    if (!from) return;
    float more[8];
    load8(from + at, more);
#pragma unroll
    for (int e = 0; e < 8; ++e) v[e] += more[e];
  }
};

/// dgrad: dx = scale * sum, in one or two tensors, for the pixels of one residue class (see conv2d_dgrad.cu).
template <class T>
struct DgradOut {
  T *a, *b;
  int channels_a, channels_b;
  float scale;
  int lines, columns;          // pixels of the class, C
  Divisor image, image_width;  // of the class
  int height, width, stride, first_h, first_w;
  bool vector;  // both channel counts are multiples of 8, both tensors aligned

  __device__ __forceinline__ void operator()(int m, int c, float (&v)[8]) const {
    int n, p, i, j;
    image.split(m, n, p);
    image_width.split(p, i, j);
    const int64_t pixel =
        (static_cast<int64_t>(n) * height + first_h + i * stride) * width + first_w + j * stride;
#pragma unroll
    for (int e = 0; e < 8; ++e) v[e] *= scale;
    if (vector) {
      store8(at(pixel, c), v);
    } else {
#pragma unroll
      for (int e = 0; e < 8; ++e)
        if (c + e < columns) *at(pixel, c + e) = from_float<T>(v[e]);
    }
  }
  __device__ __forceinline__ T* at(int64_t pixel, int c) const {
    return c < channels_a ? a + pixel * channels_a + c : b + pixel * channels_b + (c - channels_a);
  }
};

}  // namespace imago::IMAGO_CUDA_NAMESPACE
