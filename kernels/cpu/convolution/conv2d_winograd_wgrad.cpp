// The gradient with respect to the weights by Winograd's algorithm, in NHWC. winograd.h has the formula and
// its error.
//
//   for each of 36 positions p:   P_p[k, c] = sum_tile Q_p[tile, k] V_p[tile, c],      dw += scale * G^T P G
//
// V = B^T d B are the transformed windows of the input, Q = A dy A^T the transformed tiles of dy: a quarter
// of the products of the direct sum.
//
// The sums P of all positions are four times as large as dw and would go through the second-level cache once
// a block of tiles. So the positions are taken a row of six at a time: P of six positions and a panel of
// kWidth input channels (384 KiB for 256 output channels) stays there while all tiles pass,
// [position][k][kWidth], and a block of kTiles tiles of V and Q with it. A row of B^T d B needs one row of
// B^T, so little is computed six times; x and dy are read six times.
//
// A row of positions and a panel are a piece of work: threads share out P, no partial sums are joined, and
// every element is added up in the same order whatever the number of threads. Then G^T P G goes into dw.
#include "kernels/cpu/columns.h"
#include "kernels/cpu/convolution/conv2d_winograd.h"
#include "kernels/cpu/convolution/winograd.h"
#include "kernels/cpu/gemm_tile.h"

namespace imago::cpu {

using namespace winograd;

namespace {

constexpr int64_t kWidth = 64;  // input channels of a panel
constexpr int64_t kTiles = 48;  // of a block: the depth of the products

/// y = row kRow of M x M^T.
template <auto kMap, int kRow, int kIn, int kOut>
inline void one_row(const Vec (&x)[kIn][kIn], Vec (&y)[kOut]) {
  Vec half[kIn];
#pragma GCC unroll 8
  for (int j = 0; j < kIn; ++j) {
    Vec column[kIn], mapped[kOut];
#pragma GCC unroll 8
    for (int i = 0; i < kIn; ++i) column[i] = x[i][j];
    kMap(column, mapped);
    half[j] = mapped[kRow];
  }
  kMap(half, y);
}

template <class T>
class WinogradWgrad {
 public:
  WinogradWgrad(const ConvShape& conv, const Sources<const T>& x, const T* dy, float scale, float* dw)
      : conv_(conv),
        x_(x, kWidth),
        dy_(dy),
        scale_(scale),
        dw_(dw),
        tiles_(conv),
        panels_(x_.count()),
        pitch_(round_up(conv.k, kLanes) + kLanes) {}

  size_t bytes() const {
    return Scratch::bytes_of<float>(panels_ * kPositions * sums_size()) +
           Scratch::bytes_of<float>(max_threads() * own_size()) +
           Scratch::bytes_of<T>(std::max(conv_.c, conv_.k));
  }

  void run(Scratch scratch) const {
    float* sums = scratch.take<float>(panels_ * kPositions * sums_size());
    float* memory = scratch.take<float>(max_threads() * own_size());
    const int64_t channels = std::max(conv_.c, conv_.k);
    T* zeros = scratch.take<T>(channels);
    std::fill(zeros, zeros + channels, T(0.0f));

    parallel_items(panels_ * kPoints, [&](int64_t item) {
      float* const own = memory + thread_index() * own_size();
      float* const to = sums + item * kPoints * sums_size();  // [panel][row][column][k][kWidth]
      switch (item % kPoints) {
        case 0: return add_up<0>(item / kPoints, zeros, own, to);
        case 1: return add_up<1>(item / kPoints, zeros, own, to);
        case 2: return add_up<2>(item / kPoints, zeros, own, to);
        case 3: return add_up<3>(item / kPoints, zeros, own, to);
        case 4: return add_up<4>(item / kPoints, zeros, own, to);
        default: return add_up<5>(item / kPoints, zeros, own, to);
      }
    });
    const int64_t outputs = ceil_div(conv_.k, kLeastOutputs);
    parallel_items(panels_ * outputs, [&](int64_t item) {
      const int64_t panel = item / outputs, first = item % outputs * kLeastOutputs;
      const float* from = sums + panel * kPositions * sums_size();
      for (int64_t k = first; k < std::min(conv_.k, first + kLeastOutputs); ++k)
        write(panel, k, from + k * kWidth);
    });
  }

 private:
  static constexpr int64_t kLeastOutputs = 16;  // a piece of work of the last transform

  int64_t sums_size() const { return conv_.k * kWidth + kStagger; }  // of a position
  int64_t own_size() const { return kPoints * kTiles * (kWidth + pitch_); }

  /// The sums of positions (kRow, 0..5), over all tiles.
  template <int kRow>
  void add_up(int64_t panel, const T* zeros, float* own, float* sums) const {
    float *const v = own, *const q = own + kPoints * kTiles * kWidth;
    const int64_t columns = round_up(x_[panel].count, kLanes);
    for (int64_t first = 0; first < tiles_.count; first += kTiles) {
      const int64_t tiles = std::min(kTiles, tiles_.count - first);
      for (int64_t i = 0; i < tiles; ++i) {
        const Tile tile(tiles_, first + i);
        transform_window<kRow>(tile, panel, zeros, v + i * kWidth);
        transform_dy<kRow>(tile, zeros, q + i * pitch_);
      }
      for (int p = 0; p < kPoints; ++p) {
        const ColumnMajor transposed{q + p * kTiles * pitch_, pitch_};  // [k][tile]
        const float* const window = v + p * kTiles * kWidth;
        float* const to = sums + p * sums_size();
        if (first == 0) {
          gemm_tile<false>(transposed, window, kWidth, to, kWidth, conv_.k, columns, tiles);
        } else {
          gemm_tile<true>(transposed, window, kWidth, to, kWidth, conv_.k, columns, tiles);
        }
      }
    }
  }

  template <int kRow>
  void transform_window(const Tile& tile, int64_t panel, const T* zeros, float* v) const {
    const auto channels = x_[panel];
    const Window<kPoints, T> window(channels.data, conv_.h, conv_.w, channels.stride, tile.n,
                                    tile.row - conv_.top, tile.column - conv_.left, zeros);
    vector_loop(0, channels.count, [&](int64_t c, int64_t lanes) {
      Vec d[kPoints][kPoints], row[kPoints];
      window.load(channels.first + c, lanes, d);
      one_row<input, kRow>(d, row);
      for (int p = 0; p < kPoints; ++p) store(v + p * kTiles * kWidth + c, row[p]);
    });
  }

  template <int kRow>
  void transform_dy(const Tile& tile, const T* zeros, float* q) const {
    const Window<kOutputs, T> window(dy_, conv_.ho, conv_.wo, conv_.k, tile.n, tile.row, tile.column, zeros);
    vector_loop(0, conv_.k, [&](int64_t k, int64_t lanes) {
      Vec d[kOutputs][kOutputs], row[kPoints];
      window.load(k, lanes, d);
      one_row<output_transposed, kRow>(d, row);
      for (int p = 0; p < kPoints; ++p) store(q + p * kTiles * pitch_ + k, row[p]);
    });
  }

  /// dw[k, :, :, panel's channels] += scale * G^T P G
  void write(int64_t panel, int64_t k, const float* sums) const {
    const auto channels = x_[panel];
    vector_loop(0, channels.count, [&](int64_t c, int64_t lanes) {
      Vec products[kPoints][kPoints], dg[kFilter][kFilter];
      for (int p = 0; p < kPositions; ++p) {
        products[p / kPoints][p % kPoints] = load(sums + p * sums_size() + c);
      }
      both_ways<filter_transposed>(products, dg);
      for (int tap = 0; tap < kFilter * kFilter; ++tap) {
        float* const to = dw_ + (k * kFilter * kFilter + tap) * conv_.c + channels.offset + c;
        store_up_to(to, load_up_to(to, lanes) + scale_ * dg[tap / kFilter][tap % kFilter], lanes);
      }
    });
  }

  ConvShape conv_;
  Panels<const T> x_;
  const T* dy_;
  float scale_;
  float* dw_;
  Tiles tiles_;
  int64_t panels_, pitch_;
};

}  // namespace

template <class T>
void winograd_wgrad(const Concat& x, const T* dy, const ConvShape& conv, float scale, float* dw, float* dbias,
                    Workspace& workspace) {
  const WinogradWgrad<T> wgrad(conv, Sources<const T>(x), dy, scale, dw);
  const int64_t pixels = conv.n * conv.ho * conv.wo;
  const int64_t partial = dbias ? partial_sums(1, pixels, conv.k) : 0;
  void* const memory = workspace.get(std::max(wgrad.bytes(), Scratch::bytes_of<float>(partial)));
  wgrad.run(Scratch(memory));
  if (!dbias) return;
  sum_pixels(dy, 1, pixels, conv.k, static_cast<float*>(memory),
             [&](int64_t, int64_t k, double sum) { dbias[k] = static_cast<float>(dbias[k] + scale * sum); });
}

template void winograd_wgrad(const Concat&, const float*, const ConvShape&, float, float*, float*,
                             Workspace&);
template void winograd_wgrad(const Concat&, const bf16*, const ConvShape&, float, float*, float*, Workspace&);

}  // namespace imago::cpu
