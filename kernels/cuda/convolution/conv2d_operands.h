// The operands of convolution as matrices that exist only as rules, for implicit_gemm.h.
//
//   forward   y[pixel, k]  = sum over (r,s,c)   Patches[pixel, (r,s,c)] * FilterRows[k, (r,s,c)]
//   dgrad     dx[pixel, c] = sum over (u,v,k)   Patches of dy           * FilterColumns[c, (u,v,k)]
//   wgrad     dw[k, (r,s,c)] = sum over pixels  GradientColumns[k, p]   * PatchColumns[(r,s,c), p]
//
// All indices of a matrix fit 31 bits (the launchers check); offsets of elements are 64-bit.
#pragma once

#include "kernels/backend.h"
#include "kernels/cuda/device/vec.h"

namespace imago::IMAGO_CUDA_NAMESPACE {

/// Patches of an image [N,H,W,C] in one or two sources: line = pixel (n,i,j) of the filter's output, element
/// (r,s,c) = x[n, i * stride - top + r, j * stride - left + s, c], zero outside.
template <class T>
struct Patches {
  using Element = T;
  static constexpr bool kKInner = true;

  const T *a, *b;  // the sources; b may be null
  int channels_a, channels_b, height, width;
  int stride, top, left;
  int lines, depth;                                      // N * Ho * Wo, R * S * C
  Divisor output, output_width, channels, filter_width;  // Ho * Wo, Wo, C, S

  struct Line {
    int pixel, h, w;  // of the filter's upper left corner; pixel counts through the batch, may lie outside
  };
  struct Tap {
    int r, s, c;
  };

  __device__ __forceinline__ Line line(int m) const {
    if (m >= lines) return {0, -(1 << 29), 0};  // outside of every image
    int n, p, i, j;
    output.split(m, n, p);
    output_width.split(p, i, j);
    const int h = i * stride - top, w = j * stride - left;
    return {(n * height + h) * width + w, h, w};
  }
  __device__ __forceinline__ Tap tap(int k) const {
    int rs, c, r, s;
    channels.split(k, rs, c);
    filter_width.split(rs, r, s);
    return {r, s, c};
  }
  __device__ __forceinline__ const T* at(const Line& l, const Tap& t) const {
    const bool inside = static_cast<unsigned>(l.h + t.r) < static_cast<unsigned>(height) &&
                        static_cast<unsigned>(l.w + t.s) < static_cast<unsigned>(width);
    if (!inside) return nullptr;
    const int64_t pixel = l.pixel + t.r * width + t.s;
    return t.c < channels_a ? a + pixel * channels_a + t.c : b + pixel * channels_b + (t.c - channels_a);
  }
  __device__ __forceinline__ const T* at(const Line& l, int k) const {
    return k < depth ? at(l, tap(k)) : nullptr;
  }
  __device__ __forceinline__ const T* anywhere() const { return a; }
};

/// The same matrix transposed, for wgrad: line = (r,s,c), k = pixel.
template <class T>
struct PatchColumns {
  using Element = T;
  static constexpr bool kKInner = false;

  Patches<T> patches;
  int lines, depth;  // R * S * C, N * Ho * Wo

  using Line = typename Patches<T>::Tap;
  __device__ __forceinline__ Line line(int m) const {
    return m < lines ? patches.tap(m) : Line{1 << 28, 0, 0};
  }
  __device__ __forceinline__ const T* at(const Line& l, int pixel) const {
    return patches.at(patches.line(pixel), l);
  }
  __device__ __forceinline__ const T* anywhere() const { return patches.a; }
};

/// Weights [K,(R,S,C)] as they lie: line = k.
template <class T>
struct FilterRows {
  using Element = T;
  static constexpr bool kKInner = true;

  const T* w;
  int lines, depth;  // K, R * S * C

  using Line = const T*;
  __device__ __forceinline__ Line line(int m) const {
    return m < lines ? w + static_cast<int64_t>(m) * depth : nullptr;
  }
  __device__ __forceinline__ const T* at(Line l, int k) const { return l && k < depth ? l + k : nullptr; }
  __device__ __forceinline__ const T* anywhere() const { return w; }
};

/// Weights [K,R,S,C] for dgrad: line = c, element (u,v,k) = w[k, first_r - u * step, first_s - v * step, c]:
/// the taps that one residue class of pixels sees, last tap first.
template <class T>
struct FilterColumns {
  using Element = T;
  static constexpr bool kKInner = false;

  const T* w;
  int lines, depth;  // C, U * V * K
  int filter_height, filter_width;
  int first_r, first_s, step;
  Divisor outputs, taps_width;  // K, V

  using Line = int;
  __device__ __forceinline__ Line line(int m) const { return m; }
  __device__ __forceinline__ const T* at(int c, int kk) const {
    if (c >= lines || kk >= depth) return nullptr;
    int uv, k, u, v;
    outputs.split(kk, uv, k);
    taps_width.split(uv, u, v);
    const int64_t tap =
        (static_cast<int64_t>(k) * filter_height + first_r - u * step) * filter_width + first_s - v * step;
    return w + tap * lines + c;
  }
  __device__ __forceinline__ const T* anywhere() const { return w; }
};

/// A gradient dy [pixels,K] transposed, for wgrad: line = k.
template <class T>
struct GradientColumns {
  using Element = T;
  static constexpr bool kKInner = false;

  const T* dy;
  int lines, depth;  // K, pixels

  using Line = int;
  __device__ __forceinline__ Line line(int m) const { return m; }
  __device__ __forceinline__ const T* at(int k, int pixel) const {
    return k < lines && pixel < depth ? dy + static_cast<int64_t>(pixel) * lines + k : nullptr;
  }
  __device__ __forceinline__ const T* anywhere() const { return dy; }
};

/// Patches of x under a filter of R x S with an output of Ho x Wo. On the host.
template <class T>
Patches<T> patches_of(const Concat& x, int64_t r, int64_t s, int stride, int top, int left, int64_t ho,
                      int64_t wo) {
  const Shape& shape = x.a.shape;  // [N,H,W,Ca]
  const int64_t lines = shape[0] * ho * wo, depth = r * s * x.channels();
  check(shape[0] * shape[1] * shape[2] < (1 << 30) && lines < (1 << 30) && depth < (1 << 30),
        "convolution on CUDA: more than 2^30 pixels or weights a channel; use a smaller batch");
  return {.a = x.a.template as<T>(),
          .b = x.b.template as<T>(),
          .channels_a = static_cast<int>(shape[3]),
          .channels_b = x.b ? static_cast<int>(x.b.shape[3]) : 0,
          .height = static_cast<int>(shape[1]),
          .width = static_cast<int>(shape[2]),
          .stride = stride,
          .top = top,
          .left = left,
          .lines = static_cast<int>(lines),
          .depth = static_cast<int>(depth),
          .output = Divisor(ho * wo),
          .output_width = Divisor(wo),
          .channels = Divisor(x.channels()),
          .filter_width = Divisor(s)};
}

}  // namespace imago::IMAGO_CUDA_NAMESPACE
