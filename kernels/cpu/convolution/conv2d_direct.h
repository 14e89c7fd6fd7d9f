// Our own direct convolution, for shapes and CPUs where oneDNN is slow (choice.h says which).
//
// Shapes and cutting: what forward and dgrad (conv2d_direct.cpp) share with wgrad (conv2d_direct_wgrad.cpp).
#pragma once

#include <type_traits>

#include "kernels/backend.h"
#include "kernels/cpu/parallel.h"
#include "kernels/cpu/scratch.h"
#include "kernels/cpu/sources.h"

namespace imago::cpu {

/// One convolution as a direct kernel sees it: input [N,H,W,C], filter [R,S], output [N,Ho,Wo,K].
struct ConvShape {
  int64_t n, h, w, c, k, r, s, ho, wo, stride, top, left;

  /// x [N,H,W,...] of so many channels in all, w [K,R,S,C], y [N,Ho,Wo,K].
  static ConvShape of(const Shape& x, int64_t channels, const Shape& w, const Shape& y,
                      const Conv2dGeometry& g) {
    return {x[0], x[1], x[2], channels, w[0], w[1], w[2], y[1], y[2], g.stride, g.top, g.left};
  }
  /// A 1x1 filter sees no neighbours: all pixels of all images are one row.
  ConvShape flattened() const {
    const bool flat = r == 1 && s == 1 && stride == 1 && h == ho && w == wo && top == 0 && left == 0;
    return flat ? ConvShape{1, 1, n * h * w, c, k, 1, 1, 1, n * h * w, 1, 0, 0} : *this;
  }
};

/// Output pixels are cut into strips of whole rows, up to `pixels` of them (or pieces of one long row). A
/// strip needs a window of the input: its rows and columns with the filter's margins.
struct Strips {
  int64_t rows, columns;               // of output pixels in a full strip
  int64_t per_column, per_row, count;  // strips down, across, and in all images

  Strips(const ConvShape& c, int64_t pixels)
      : rows(std::clamp<int64_t>(pixels / c.wo, 1, c.ho)),
        columns(std::min(c.wo, pixels)),
        per_column(ceil_div(c.ho, rows)),
        per_row(ceil_div(c.wo, columns)),
        count(c.n * per_column * per_row) {}
};

struct Strip {
  int64_t n, row, column, rows, columns;                  // output pixels
  int64_t window_rows, window_columns, first_h, first_w;  // input pixels; may begin outside the image

  Strip(const ConvShape& c, const Strips& all, int64_t index) {
    n = index / (all.per_column * all.per_row);
    row = index / all.per_row % all.per_column * all.rows;
    column = index % all.per_row * all.columns;
    rows = std::min(all.rows, c.ho - row);
    columns = std::min(all.columns, c.wo - column);
    window_rows = (rows - 1) * c.stride + c.r;
    window_columns = (columns - 1) * c.stride + c.s;
    first_h = row * c.stride - c.top;
    first_w = column * c.stride - c.left;
  }
  int64_t pixels() const { return rows * columns; }
};

/// Pixels of the largest window.
inline int64_t window_pixels(const ConvShape& c, const Strips& all) {
  return ((all.rows - 1) * c.stride + c.r) * ((all.columns - 1) * c.stride + c.s);
}

/// f(h, w, pixel of the window, inside) for every input pixel under the strip.
template <class F>
inline void for_each_window_pixel(const ConvShape& c, const Strip& strip, F&& f) {
  for (int64_t i = 0; i < strip.window_rows; ++i) {
    const int64_t h = strip.first_h + i;
    for (int64_t j = 0; j < strip.window_columns; ++j) {
      const int64_t w = strip.first_w + j;
      f(h, w, i * strip.window_columns + j, h >= 0 && h < c.h && w >= 0 && w < c.w);
    }
  }
}

/// y = conv(x, w) + epilogue; x in one or two sources.
template <class T>
void direct_forward(const Concat& x, const T* w, const ConvShape& conv, const Conv2dEpilogue& epilogue, T* y,
                    Workspace& workspace);
/// dx = so_far + scale * conv^T(dy, w), stride 1 only; dx in one or two parts. `conv` is
/// the forward convolution.
template <class T>
void direct_dgrad(const T* dy, const T* w, const ConvShape& conv, float scale, const Concat& so_far,
                  const ConcatOut& dx, Workspace& workspace);
/// dw += scale * dy * x, dbias += scale * (sum of dy) unless null
template <class T>
void direct_wgrad(const Concat& x, const T* dy, const ConvShape& conv, float scale, float* dw, float* dbias,
                  Workspace& workspace);

}  // namespace imago::cpu
