// Convolution forward, and dgrad, by Winograd's F(4x4, 3x3) in NHWC. winograd.h has the algorithm and its
// error.
//
//   for each of 36 positions p:   M_p[tile, k] = sum_c V_p[tile, c] U_p[c, k]
//
// V are the transformed windows of the input, U the transformed filters, and the outputs are A^T M A. That is
// a quarter of the products of direct convolution, in exchange for transforms whose cost does not grow with
// the other side's channels: for 128 channels about a tenth of the products' time.
//
//   U.  Once a call, in panels of two vectors of output channels, [panel][position][c][kWidth]. Where one
//   block
//       holds all tiles, every thread makes its own, 64 input channels at a time, which are used at once,
//       from the second-level cache. A filter's nine taps lie C apart, so a square block of output channels x
//       input channels is transposed in registers on its way.
//   V.  A block of tiles at a time, vectorised over channels, [position][tile][c], at most kBlockFloats: it
//   stays
//       in the second-level cache while all panels pass. Windows are read from x as it lies, one source after
//       the other; pixels outside the image read a line of zeros.
//   M.  One panel at a time: 36 products of [tiles x C] by [C x kWidth] (gemm_tile.h), then the output
//   transform,
//       and with it bias, per-image bias, residual, scale and the sum so far. y is written once.
//
// An output's sum over c runs in one order, whatever the block it is in: the bits of an image's y depend
// neither on how many images go through together nor on the threads.
#include "kernels/cpu/convolution/conv2d_winograd.h"

#include "kernels/cpu/convolution/conv2d_output.h"
#include "kernels/cpu/convolution/filter_blocks.h"
#include "kernels/cpu/convolution/winograd.h"
#include "kernels/cpu/gemm_tile.h"

namespace imago::cpu {

using namespace winograd;

namespace {

constexpr int64_t kWidth = 2 * kLanes;               // output channels of a panel
constexpr int64_t kBlockFloats = 160 * 1024;         // of V: 640 KiB
constexpr int64_t kLeastTiles = 8, kMostTiles = 48;  // of a block
constexpr int64_t kSlice = 64;                       // input channels of U where one block holds all tiles
constexpr int64_t kSliceStep = kSlice * kWidth + kStagger;

template <class T>
class Winograd {
 public:
  Winograd(const ConvShape& conv, const Sources<const T>& x, const Output<T>& out)
      : conv_(conv),
        x_(x),
        out_(out, kWidth),
        tiles_(conv),
        panels_(out_.count()),
        pitch_(round_up(conv.c, kLanes) + kLanes) {
    // As many tiles as V's share of the cache holds; several blocks are of equal size, as many a thread.
    const int64_t most = std::clamp(kBlockFloats / (kPositions * pitch_), kLeastTiles, kMostTiles);
    const int64_t fewest = ceil_div(tiles_.count, most),
                  blocks = fewest == 1 ? 1 : round_up(fewest, max_threads());
    block_ = round_up(ceil_div(tiles_.count, blocks), kLeastTiles);
    blocks_ = ceil_div(tiles_.count, block_);
  }

  size_t bytes() const {
    return Scratch::bytes_of<float>(shared_panels() * panel_size()) +
           Scratch::bytes_of<float>(max_threads() * own_size()) + Scratch::bytes_of<T>(conv_.c);
  }

  template <class Filters>
  void run(Scratch scratch, const Filters& filters) const {
    float* const u = scratch.take<float>(shared_panels() * panel_size());
    float* const memory = scratch.take<float>(max_threads() * own_size());
    T* const zeros = scratch.take<T>(conv_.c);
    std::fill(zeros, zeros + conv_.c, T(0.0f));
    if (blocks_ == 1) return run_one_block(zeros, memory, filters);

    const int64_t depths = ceil_div(conv_.c, int64_t{kLanes});
    parallel_items(panels_ * depths, [&](int64_t item) {
      const int64_t panel = item / depths, c = item % depths * kLanes;
      transform_filters(panel, c, u + panel * panel_size() + c * kWidth, filters_step(), filters);
    });
    parallel_items(blocks_, [&](int64_t item) {
      const int64_t first = item * block_, last = std::min(tiles_.count, first + block_);
      float* const windows = memory + thread_index() * own_size();
      transform_windows(first, last, zeros, windows);
      for (int64_t p = 0; p < panels_; ++p) {
        const float* const panel = u + p * panel_size();
        multiply<false>(last - first, panel, filters_step(), windows, conv_.c, windows + windows_size());
        write_panel(p, first, last, windows + windows_size());
      }
    });
  }

 private:
  // Floats from one position to the next, in U, V and M.
  int64_t filters_step() const { return conv_.c * kWidth + kStagger; }
  int64_t windows_step() const { return block_ * pitch_ + kStagger; }
  int64_t products_step() const { return block_ * kWidth + kStagger; }
  int64_t panel_size() const { return kPositions * filters_step(); }
  int64_t windows_size() const { return kPositions * windows_step(); }
  int64_t products_size() const { return kPositions * products_step(); }
  int64_t shared_panels() const { return blocks_ > 1 ? panels_ : 0; }
  int64_t own_size() const {
    return windows_size() + products_size() + (blocks_ > 1 ? 0 : kPositions * kSliceStep);
  }

  /// Threads share out the panels; each transforms all windows for itself, and a slice of a panel's filters
  /// just before it is used.
  template <class Filters>
  void run_one_block(const T* zeros, float* memory, const Filters& filters) const {
    const int64_t groups = std::min<int64_t>(panels_, max_threads());
    parallel_items(groups, [&](int64_t group) {
      float* const windows = memory + thread_index() * own_size();
      float* const products = windows + windows_size();
      float* const u = products + products_size();
      transform_windows(0, tiles_.count, zeros, windows);
      for (int64_t p = group * panels_ / groups; p < (group + 1) * panels_ / groups; ++p) {
        for (int64_t c = 0; c < conv_.c; c += kSlice) {
          const int64_t end = std::min(conv_.c, c + kSlice);
          for (int64_t i = c; i < end; i += kLanes) {
            transform_filters(p, i, u + (i - c) * kWidth, kSliceStep, filters);
          }
          c == 0 ? multiply<false>(tiles_.count, u, kSliceStep, windows, end, products)
                 : multiply<true>(tiles_.count, u, kSliceStep, windows + c, end - c, products);
        }
        write_panel(p, 0, tiles_.count, products);
      }
    });
  }

  /// Input channels [c, c + kLanes) of a panel, to u; `step` floats from one position to the next.
  template <class Filters>
  void transform_filters(int64_t panel, int64_t c, float* u, int64_t step, const Filters& filters) const {
    const auto channels = out_[panel];
    const int64_t depth = std::min<int64_t>(kLanes, conv_.c - c);
    for (int64_t v = 0; v < kWidth; v += kLanes) {
      Vec taps[kFilter * kFilter][kLanes];
      for (int tap = 0; tap < kFilter * kFilter; ++tap) {
        filters.load(channels.offset + v, channels.count - v, tap / kFilter, tap % kFilter, c, depth,
                     taps[tap]);
      }
      for (int64_t i = 0; i < depth; ++i) {
        Vec g[kFilter][kFilter], transformed[kPoints][kPoints];
#pragma GCC unroll 16
        for (int tap = 0; tap < kFilter * kFilter; ++tap) g[tap / kFilter][tap % kFilter] = taps[tap][i];
        both_ways<filter>(g, transformed);
        for (int p = 0; p < kPositions; ++p) {
          store(u + p * step + i * kWidth + v, transformed[p / kPoints][p % kPoints]);
        }
      }
    }
  }

  void transform_windows(int64_t first, int64_t last, const T* zeros, float* windows) const {
    for (int64_t t = first; t < last; ++t) {
      const Tile tile(tiles_, t);
      float* const v = windows + (t - first) * pitch_;
      x_.for_each([&](const T* x, int64_t channels, int64_t offset) {
        const Window<kPoints, T> window(x, conv_.h, conv_.w, channels, tile.n, tile.row - conv_.top,
                                        tile.column - conv_.left, zeros);
        vector_loop(0, channels, [&](int64_t c, int64_t lanes) {
          Vec d[kPoints][kPoints], transformed[kPoints][kPoints];
          window.load(c, lanes, d);
          both_ways<input>(d, transformed);
#pragma GCC unroll 36
          for (int p = 0; p < kPositions; ++p) {
            store_up_to(v + p * windows_step() + offset + c, transformed[p / kPoints][p % kPoints], lanes);
          }
        });
      });
    }
  }

  /// M = V U, or M += V U with kAdd, for one panel and `depth` input channels, `step` floats of u a position.
  template <bool kAdd>
  void multiply(int64_t tiles, const float* u, int64_t step, const float* windows, int64_t depth,
                float* products) const {
    for (int p = 0; p < kPositions; ++p) {
      gemm_tile<kAdd>(RowMajor{windows + p * windows_step(), pitch_}, u + p * step, kWidth,
                      products + p * products_step(), kWidth, tiles, kWidth, depth);
    }
  }

  /// y's tiles of one panel.
  void write_panel(int64_t panel, int64_t first, int64_t last, const float* products) const {
    const auto channels = out_[panel];
    for (int64_t t = first; t < last; ++t) {
      const float* const m = products + (t - first) * kWidth;
      vector_loop(0, channels.count,
                  [&](int64_t k, int64_t lanes) { write_tile(channels, Tile(tiles_, t), m + k, k, lanes); });
    }
  }

  /// y = A^T m A + epilogue, for one vector of channels.
  void write_tile(const typename OutputPanels<T>::Panel& channels, const Tile& tile, const float* m,
                  int64_t k, int64_t lanes) const {
    Vec product[kPoints][kPoints], y[kOutputs][kOutputs];
#pragma GCC unroll 36
    for (int p = 0; p < kPositions; ++p) product[p / kPoints][p % kPoints] = load(m + p * products_step());
    both_ways<output>(product, y);
    const int64_t rows = std::min<int64_t>(kOutputs, conv_.ho - tile.row);
    const int64_t columns = std::min<int64_t>(kOutputs, conv_.wo - tile.column);
    for (int64_t i = 0; i < rows; ++i) {
      const int64_t p = (tile.n * conv_.ho + tile.row + i) * conv_.wo + tile.column;
      for (int64_t j = 0; j < columns; ++j) out_.write(out_.pixel(channels, p + j), k, lanes, y[i][j]);
    }
  }

  ConvShape conv_;
  Sources<const T> x_;
  OutputPanels<T> out_;
  Tiles tiles_;
  int64_t panels_, pitch_, block_, blocks_;
};

}  // namespace

template <class T>
void winograd_forward(const Concat& x, const T* w, const ConvShape& conv, const Conv2dEpilogue& e, T* y,
                      Workspace& workspace) {
  const Output<T> out{
      Sources<T>(y, conv.k), e.bias.as<float>(), e.per_image_bias.as<T>(), e.residual.as<T>(), e.scale, {},
      conv.ho * conv.wo};
  const Winograd<T> winograd(conv, Sources<const T>(x), out);
  winograd.run(Scratch(workspace, winograd.bytes()), ForwardFilters<T>{w, conv.r, conv.s, conv.c});
}

template <class T>
void winograd_dgrad(const T* dy, const T* w, const ConvShape& f, float scale, const Concat& so_far,
                    const ConcatOut& dx, Workspace& workspace) {
  const ConvShape back{f.n, f.ho, f.wo, f.k, f.c, f.r, f.s, f.h, f.w, 1, f.r - 1 - f.top, f.s - 1 - f.left};
  const Output<T> out{Sources<T>(dx), nullptr, nullptr, nullptr, scale, so_far, 1};
  const Winograd<T> winograd(back, Sources<const T>(dy, f.k), out);
  winograd.run(Scratch(workspace, winograd.bytes()), TurnedFilters<T>{w, f.r, f.s, f.c});
}

template void winograd_forward(const Concat&, const float*, const ConvShape&, const Conv2dEpilogue&, float*,
                               Workspace&);
template void winograd_forward(const Concat&, const bf16*, const ConvShape&, const Conv2dEpilogue&, bf16*,
                               Workspace&);
template void winograd_dgrad(const float*, const float*, const ConvShape&, float, const Concat&,
                             const ConcatOut&, Workspace&);
template void winograd_dgrad(const bf16*, const bf16*, const ConvShape&, float, const Concat&,
                             const ConcatOut&, Workspace&);

}  // namespace imago::cpu
