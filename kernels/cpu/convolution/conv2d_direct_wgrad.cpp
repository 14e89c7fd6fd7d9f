// The gradient with respect to the weights, as a direct kernel in NHWC.
//
//   dw[k, (r,s), c] += scale * sum_p dy[p, k] x[p + (r,s), c],   dbias[k] += scale * sum_p dy[p, k]
//
// For a fixed tap (r,s) this is a matrix product with the pixels as the summed dimension: 6 output channels
// times 16 input channels stay in 12 registers while p runs; each step is two loads of x, six broadcasts of
// dy and twelve FMAs. Both operands are packed, about 256 pixels at a time, so that the loop reads memory in
// order: dy as [k/6][pixel][6], and 16 channels of x's padded window as [pixel][16] (20 KiB, first-level
// cache), in which all taps are the same data from another starting point. So a value of x is packed once
// for 9K products.
//
// Threads share out dw itself (ranges of c and k): no partial sums to join, no atomics, and every element of
// dw is added up in the same order whatever the number of threads. Packing dy passes every value of it
// through a register, which is where dbias is summed: once, by the threads that own the first channels of x.
//
// Measured: see the table in choice.cpp, 56 to 67 GFLOP/s a thread of 94, where oneDNN reaches 41 to 53.
#include "kernels/cpu/convolution/conv2d_direct.h"

namespace imago::cpu {

namespace {

constexpr int64_t kStripPixels = 256;

/// dw[i * dw_stride + lane] += scale * sum over the strip, for kRows output and kVectors * kLanes input
/// channels. dy: [pixels][kRows]; x: first pixel of the window under this tap, x_step (x_row) floats to the
/// next pixel (row).
template <int kRows, int kVectors>
inline void accumulate(const float* dy, const float* x, int64_t x_step, int64_t x_row, int64_t rows,
                       int64_t columns, float scale, float* dw, int64_t dw_stride, int64_t k_count,
                       int64_t c_count) {
  Vec sum[kRows][kVectors] = {};
  for (int64_t row = 0; row < rows; ++row, x += x_row) {
    const float* p = x;
    for (int64_t column = 0; column < columns; ++column, p += x_step, dy += kRows) {
      Vec v[kVectors];
#pragma GCC unroll 2
      for (int j = 0; j < kVectors; ++j) v[j] = load(p + j * kLanes);
#pragma GCC unroll 16
      for (int i = 0; i < kRows; ++i) {
        const float factor = dy[i];
#pragma GCC unroll 2
        for (int j = 0; j < kVectors; ++j) sum[i][j] += factor * v[j];
      }
    }
  }
#pragma GCC unroll 16
  for (int i = 0; i < kRows; ++i) {
    if (i >= k_count) break;
#pragma GCC unroll 2
    for (int j = 0; j < kVectors; ++j) {
      float* target = dw + i * dw_stride + j * kLanes;
      const int64_t lanes = c_count - j * kLanes;
      if (lanes > 0) store_up_to(target, load_up_to(target, lanes) + scale * sum[i][j], lanes);
    }
  }
}

template <class T, int kRows, int kVectors>
class DirectWgrad {
 public:
  static constexpr int64_t kWidth = kVectors * kLanes;

  DirectWgrad(const ConvShape& conv, const Sources<const T>& x, const T* dy, float scale, float* dw,
              float* dbias)
      : conv_(conv),
        x_(x, kWidth),
        dy_(dy),
        scale_(scale),
        dw_(dw),
        dbias_(dbias),
        strips_(conv, kStripPixels),
        panels_(x_.count()),
        tiles_(ceil_div(conv.k, kRows)) {
    const int64_t threads = max_threads();
    panel_groups_ = std::min(panels_, threads);
    tile_groups_ = std::min(tiles_, ceil_div(threads, panel_groups_));
    tiles_per_group_ = ceil_div(tiles_, tile_groups_);
  }

  size_t bytes() const { return Scratch::bytes_of<float>(max_threads() * (window_size() + dy_size())); }

  void run(Scratch scratch) const {
    const int64_t own = window_size() + dy_size();
    float* memory = scratch.take<float>(max_threads() * own);
    parallel_items(panel_groups_ * tile_groups_, [&](int64_t item) {
      float* window = memory + thread_index() * own;
      run_group(item / tile_groups_, item % tile_groups_, window, window + window_size());
    });
  }

 private:
  int64_t window_size() const { return round_up(window_pixels(conv_, strips_) * kWidth, 64); }
  int64_t dy_size() const {  // packed with whole vectors, so a little may spill over the end
    return round_up(tiles_per_group_ * kStripPixels * kRows + kLanes, 64);
  }

  void run_group(int64_t panel_group, int64_t tile_group, float* window, float* dy) const {
    const int64_t first_panel = panel_group * panels_ / panel_groups_;
    const int64_t last_panel = (panel_group + 1) * panels_ / panel_groups_;
    const int64_t first_tile = tile_group * tiles_per_group_;
    const int64_t last_tile = std::min(tiles_, first_tile + tiles_per_group_);
    for (int64_t i = 0; i < strips_.count; ++i) {
      const Strip strip(conv_, strips_, i);
      for (int64_t t = first_tile; t < last_tile; ++t) {
        pack_dy(strip, t, dy + (t - first_tile) * strip.pixels() * kRows,
                panel_group == 0 ? dbias_ : nullptr);
      }
      for (int64_t p = first_panel; p < last_panel; ++p) {
        pack_window(strip, p, window);
        for (int64_t t = first_tile; t < last_tile; ++t) {
          multiply(strip, p, t, window, dy + (t - first_tile) * strip.pixels() * kRows);
        }
      }
    }
  }

  /// out[pixel][kRows] = dy[pixel, tile's channels]. Whole vectors are written; the next pixel overwrites
  /// what is too much. dbias, unless null, is added to.
  void pack_dy(const Strip& strip, int64_t tile, float* out, float* dbias) const {
    constexpr int64_t kVecs = (kRows + kLanes - 1) / kLanes;
    Vec sum[kVecs] = {};
    const int64_t first = tile * kRows, left = conv_.k - first;
    for (int64_t i = 0; i < strip.rows; ++i) {
      const T* row = dy_ + ((strip.n * conv_.ho + strip.row + i) * conv_.wo + strip.column) * conv_.k + first;
      for (int64_t j = 0; j < strip.columns; ++j, out += kRows) {
        for (int64_t v = 0; v < kVecs; ++v) {
          const int64_t k = v * kLanes;
          const Vec values = left > k ? load_up_to(row + j * conv_.k + k, left - k) : Vec{};
          store(out + k, values);
          sum[v] += values;
        }
      }
    }
    for (int64_t v = 0; dbias && v < kVecs; ++v) {
      const int64_t k = v * kLanes, lanes = std::min<int64_t>(kRows, left) - k;
      float* const target = dbias + first + k;
      if (lanes > 0) store_up_to(target, load_up_to(target, lanes) + scale_ * sum[v], lanes);
    }
  }

  void pack_window(const Strip& strip, int64_t panel, float* window) const {
    const auto c = x_[panel];
    for_each_window_pixel(conv_, strip, [&](int64_t h, int64_t w, int64_t pixel, bool inside) {
      float* target = window + pixel * kWidth;
      const T* source = c.data + ((strip.n * conv_.h + h) * conv_.w + w) * c.stride + c.first;
      for (int64_t v = 0; v < kWidth; v += kLanes) {
        store(target + v, inside && v < c.count ? load_up_to(source + v, c.count - v) : Vec{});
      }
    });
  }

  void multiply(const Strip& strip, int64_t panel, int64_t tile, const float* window, const float* dy) const {
    const auto c = x_[panel];
    const int64_t taps = conv_.r * conv_.s, first_k = tile * kRows;
    for (int64_t tap = 0; tap < taps; ++tap) {
      const float* x = window + (tap / conv_.s * strip.window_columns + tap % conv_.s) * kWidth;
      accumulate<kRows, kVectors>(dy, x, conv_.stride * kWidth, conv_.stride * strip.window_columns * kWidth,
                                  strip.rows, strip.columns, scale_,
                                  dw_ + (first_k * taps + tap) * conv_.c + c.offset, taps * conv_.c,
                                  conv_.k - first_k, c.count);
    }
  }

  ConvShape conv_;
  Panels<const T> x_;
  const T* dy_;
  float scale_;
  float *dw_, *dbias_;
  Strips strips_;
  int64_t panels_, tiles_, panel_groups_, tile_groups_, tiles_per_group_;
};

}  // namespace

template <class T>
void direct_wgrad(const Concat& x, const T* dy, const ConvShape& conv, float scale, float* dw, float* dbias,
                  Workspace& workspace) {
  const Sources<const T> sources(x);
  if (std::max(sources.channels_a, sources.channels_b) <= kLanes) {
    const DirectWgrad<T, 12, 1> wgrad(conv.flattened(), sources, dy, scale, dw, dbias);
    wgrad.run(Scratch(workspace, wgrad.bytes()));
  } else {
    const DirectWgrad<T, 6, 2> wgrad(conv.flattened(), sources, dy, scale, dw, dbias);
    wgrad.run(Scratch(workspace, wgrad.bytes()));
  }
}

template void direct_wgrad(const Concat&, const float*, const ConvShape&, float, float*, float*, Workspace&);
template void direct_wgrad(const Concat&, const bf16*, const ConvShape&, float, float*, float*, Workspace&);

}  // namespace imago::cpu
