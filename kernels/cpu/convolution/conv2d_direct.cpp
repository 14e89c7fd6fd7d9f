// Convolution forward, and dgrad with stride 1, as one direct kernel in NHWC.
//
//   y[p, k] = sum_{r,s,c} x[p + (r,s), c] w[k,r,s,c]
//
// The inner loop is a matrix product: 6 output pixels times 16 output channels (two vectors of 8) stay in 12
// registers while (r,s,c) runs; each step is two loads of weights, six broadcasts of x and twelve FMAs. For a
// fixed filter row r, the S*C values of x under a pixel are contiguous, so the six pixels are six pointers
// that advance together.
//
// Around it, a strip of about 256 output pixels at a time: its window of x is copied once into a padded
// float32 buffer in the second-level cache (zeros outside the image, both sources side by side, bfloat16
// widened), which costs one copy for 9K/16 FMAs. Weights are packed once a call into panels of 16 output
// channels, [panel][r][s][c][16], zero-padded, by blocks that are transposed in registers (filter_blocks.h).
// The (r,s,c) range is cut into blocks whose panel (at most 24 KiB) stays in the first-level cache while all
// pixels of the strip pass; sums wait in a [pixels][16] buffer in between. After the last block bias,
// per-image bias, residual and scale go in, and y is rounded and written once.
//
// Where one strip holds all pixels, threads share out panels and pack what they use: nobody waits for the
// packing of others, and a thread is called only for work that is worth it.
//
// dgrad with stride 1 is the same sum over dy with the filter turned by 180 degrees and K and C exchanged:
// only the packing of the weights differs. Every output has one order of summation, whatever the threads.
//
// Measured: see the table in choice.cpp, 64 to 72 GFLOP/s a thread of 94. Strips of 128 pixels, blocks of 192
// to 768 and a window pitch that avoids powers of two are as fast, within the noise.
#include "kernels/cpu/convolution/conv2d_direct.h"

#include <vector>

#include "kernels/cpu/convolution/conv2d_output.h"
#include "kernels/cpu/convolution/filter_blocks.h"

namespace imago::cpu {

namespace {

constexpr int64_t kStripPixels = 256;
constexpr int64_t kBlockDepth = 384;         // of (r,s,c): a panel block of 24 KiB
constexpr int64_t kLeastProducts = 1 << 18;  // for which a thread is called: some 10 us
constexpr int64_t kPacking = 8;              // products in whose time a weight is packed

/// A contiguous piece of the sum: values [begin, begin + length) of S*C, of one filter row.
struct Segment {
  int64_t filter_row, begin, length;  // begin: floats from the row's first
};

/// kPixels pixels x kVectors vectors: sums [kPixels][kVectors * kLanes] (+)= x . panel over the segments.
template <int kPixels, int kVectors>
inline void accumulate(const float* window, int64_t window_row, const int32_t* pixel, const Segment* segments,
                       size_t count, const float* panel, bool first, float* sums) {
  constexpr int kWidth = kVectors * kLanes;
  Vec sum[kPixels][kVectors];
#pragma GCC unroll 16
  for (int i = 0; i < kPixels; ++i) {
#pragma GCC unroll 2
    for (int v = 0; v < kVectors; ++v) sum[i][v] = first ? Vec{} : load(sums + i * kWidth + v * kLanes);
  }
  for (size_t j = 0; j < count; ++j) {
    const float* base = window + segments[j].filter_row * window_row + segments[j].begin;
    const float* x[kPixels];
#pragma GCC unroll 16
    for (int i = 0; i < kPixels; ++i) x[i] = base + pixel[i];
    const int64_t length = segments[j].length;
    for (int64_t c = 0; c < length; ++c, panel += kWidth) {
      Vec w[kVectors];
#pragma GCC unroll 2
      for (int v = 0; v < kVectors; ++v) w[v] = load(panel + v * kLanes);
#pragma GCC unroll 16
      for (int i = 0; i < kPixels; ++i) {
        const float factor = x[i][c];
#pragma GCC unroll 2
        for (int v = 0; v < kVectors; ++v) sum[i][v] += factor * w[v];
      }
    }
  }
#pragma GCC unroll 16
  for (int i = 0; i < kPixels; ++i) {
#pragma GCC unroll 2
    for (int v = 0; v < kVectors; ++v) store(sums + i * kWidth + v * kLanes, sum[i][v]);
  }
}

/// A stretch of (r,s,c), at most kBlockDepth long.
struct Block {
  std::vector<Segment> segments;
  int64_t depth = 0;
};

/// The whole range in blocks: several filter rows where they fit, else pieces of one.
std::vector<Block> blocks_of(const ConvShape& conv) {
  std::vector<Block> blocks;
  const int64_t row_length = conv.s * conv.c, piece = ceil_div(row_length, ceil_div(row_length, kBlockDepth));
  for (int64_t r = 0; r < conv.r; ++r) {
    for (int64_t begin = 0; begin < row_length; begin += piece) {
      const int64_t length = std::min(piece, row_length - begin);
      if (blocks.empty() || blocks.back().depth + length > kBlockDepth) blocks.emplace_back();
      blocks.back().segments.push_back({r, begin, length});
      blocks.back().depth += length;
    }
  }
  return blocks;
}

template <class T, int kPixels, int kVectors>
class Direct {
 public:
  static constexpr int64_t kWidth = kVectors * kLanes;

  Direct(const ConvShape& conv, const Sources<const T>& x, const Output<T>& output)
      : conv_(conv),
        x_(x),
        out_(output, kWidth),
        strips_(conv, kStripPixels),
        blocks_(blocks_of(conv)),
        panels_(out_.count()) {}

  int64_t panel_size() const { return conv_.r * conv_.s * conv_.c * kWidth; }
  size_t bytes() const {
    return Scratch::bytes_of<float>(panels_ * panel_size()) +
           Scratch::bytes_of<float>(max_threads() * own_size());
  }

  template <class Filters>
  void run(Scratch scratch, const Filters& filters) const {
    float* panels = scratch.take<float>(panels_ * panel_size());
    float* memory = scratch.take<float>(max_threads() * own_size());
    if (strips_.count == 1) return run_one_strip(filters, panels, memory);
    parallel_items(panels_, [&](int64_t p) { pack_panel(p, panels + p * panel_size(), filters); });

    // Too few strips for the threads: groups of panels share a strip, each loading its window.
    const int64_t groups = std::clamp<int64_t>(ceil_div(2 * max_threads(), strips_.count), 1, panels_);
    parallel_items(strips_.count * groups, [&](int64_t item) {
      const int64_t begin = item % groups * panels_ / groups, end = (item % groups + 1) * panels_ / groups;
      run_strip(Strip(conv_, strips_, item / groups), begin, end, panels,
                memory + thread_index() * own_size());
    });
  }

 private:
  int64_t window_size() const { return round_up(window_pixels(conv_, strips_) * conv_.c, 64); }
  int64_t own_size() const {
    return window_size() + round_up(kStripPixels, kPixels) * kWidth;
  }  // and the sums

  /// Threads share out the panels and pack what they use: as many threads as are worth calling.
  template <class Filters>
  void run_one_strip(const Filters& filters, float* panels, float* memory) const {
    const int64_t pixels = conv_.n * conv_.ho * conv_.wo,
                  products = (pixels + kPacking) * panels_ * panel_size();
    const int64_t groups =
        std::clamp<int64_t>(products / kLeastProducts, 1, std::min<int64_t>(panels_, max_threads()));
    parallel_items(groups, [&](int64_t group) {
      const int64_t begin = group * panels_ / groups, end = (group + 1) * panels_ / groups;
      for (int64_t p = begin; p < end; ++p) pack_panel(p, panels + p * panel_size(), filters);
      run_strip(Strip(conv_, strips_, 0), begin, end, panels, memory + thread_index() * own_size());
    });
  }

  template <class Filters>
  void pack_panel(int64_t panel, float* out, const Filters& filters) const {
    const auto channels = out_[panel];
    for (int64_t tap = 0; tap < conv_.r * conv_.s; ++tap) {
      for (int64_t c = 0; c < conv_.c; c += kLanes) {
        const int64_t depth = std::min<int64_t>(kLanes, conv_.c - c);
        for (int64_t v = 0; v < kWidth; v += kLanes) {
          Vec block[kLanes];
          filters.load(channels.offset + v, channels.count - v, tap / conv_.s, tap % conv_.s, c, depth,
                       block);
          for (int64_t i = 0; i < depth; ++i) store(out + (tap * conv_.c + c + i) * kWidth + v, block[i]);
        }
      }
    }
  }

  void load_window(const Strip& strip, float* window) const {
    for_each_window_pixel(conv_, strip, [&](int64_t h, int64_t w, int64_t pixel, bool inside) {
      float* target = window + pixel * conv_.c;
      if (!inside) {
        std::fill(target, target + conv_.c, 0.0f);
        return;
      }
      const int64_t source = (strip.n * conv_.h + h) * conv_.w + w;
      x_.for_each([&](const T* x, int64_t channels, int64_t offset) {
        vector_loop(0, channels, [&](int64_t c, int64_t lanes) {
          store_up_to(target + offset + c, load_up_to(x + source * channels + c, lanes), lanes);
        });
      });
    });
  }

  /// Panels [begin, end) of one strip, in the thread's `own` memory.
  void run_strip(const Strip& strip, int64_t begin, int64_t end, const float* panels, float* own) const {
    float *const window = own, *const sums = own + window_size();
    load_window(strip, window);
    const int64_t row = strip.window_columns * conv_.c, pixels = strip.pixels();
    int32_t place[kStripPixels + kPixels];  // of each output pixel's first input value in the window
    int32_t* next = place;
    for (int64_t i = 0; i < strip.rows; ++i) {
      for (int64_t j = 0; j < strip.columns; ++j) {
        *next++ = static_cast<int32_t>(conv_.stride * (i * row + j * conv_.c));
      }
    }
    std::fill(next, next + kPixels,
              next[-1]);  // past the end: the last pixel again, for sums that nobody reads

    for (int64_t p = begin; p < end; ++p) {
      const float* panel = panels + p * panel_size();
      for (const Block& block : blocks_) {
        for (int64_t first = 0; first < pixels; first += kPixels) {
          accumulate<kPixels, kVectors>(window, row, place + first, block.segments.data(),
                                        block.segments.size(), panel, &block == &blocks_.front(),
                                        sums + first * kWidth);
        }
        panel += block.depth * kWidth;
      }
      write(strip, out_[p], sums);
    }
  }

  void write(const Strip& strip, const typename OutputPanels<T>::Panel& c, const float* sums) const {
    for (int64_t i = 0; i < strip.rows; ++i) {
      int64_t p = (strip.n * conv_.ho + strip.row + i) * conv_.wo + strip.column;
      for (int64_t j = 0; j < strip.columns; ++j, ++p, sums += kWidth) {
        const auto pixel = out_.pixel(c, p);
        vector_loop(0, c.count,
                    [&](int64_t k, int64_t lanes) { out_.write(pixel, k, lanes, load(sums + k)); });
      }
    }
  }

  ConvShape conv_;
  Sources<const T> x_;
  OutputPanels<T> out_;
  Strips strips_;
  std::vector<Block> blocks_;
  int64_t panels_;
};

/// Few output channels fill one vector only; then twelve pixels keep the FMA units busy.
template <class T, class Filters>
void run_direct(const ConvShape& conv, const Sources<const T>& x, const Output<T>& out, Workspace& workspace,
                const Filters& filters) {
  if (std::max(out.y.channels_a, out.y.channels_b) <= kLanes) {
    const Direct<T, 12, 1> direct(conv, x, out);
    direct.run(Scratch(workspace, direct.bytes()), filters);
  } else {
    const Direct<T, 6, 2> direct(conv, x, out);
    direct.run(Scratch(workspace, direct.bytes()), filters);
  }
}

}  // namespace

template <class T>
void direct_forward(const Concat& x, const T* w, const ConvShape& conv, const Conv2dEpilogue& e, T* y,
                    Workspace& workspace) {
  const Output<T> out{
      Sources<T>(y, conv.k), e.bias.as<float>(), e.per_image_bias.as<T>(), e.residual.as<T>(), e.scale, {},
      conv.ho * conv.wo};
  run_direct(conv.flattened(), Sources<const T>(x), out, workspace,
             ForwardFilters<T>{w, conv.r, conv.s, conv.c});
}

template <class T>
void direct_dgrad(const T* dy, const T* w, const ConvShape& f, float scale, const Concat& so_far,
                  const ConcatOut& dx, Workspace& workspace) {
  const ConvShape back{f.n, f.ho, f.wo, f.k, f.c, f.r, f.s, f.h, f.w, 1, f.r - 1 - f.top, f.s - 1 - f.left};
  const Output<T> out{Sources<T>(dx), nullptr, nullptr, nullptr, scale, so_far, 1};
  run_direct(back.flattened(), Sources<const T>(dy, f.k), out, workspace, TurnedFilters<T>{w, f.r, f.s, f.c});
}

template void direct_forward(const Concat&, const float*, const ConvShape&, const Conv2dEpilogue&, float*,
                             Workspace&);
template void direct_forward(const Concat&, const bf16*, const ConvShape&, const Conv2dEpilogue&, bf16*,
                             Workspace&);
template void direct_dgrad(const float*, const float*, const ConvShape&, float, const Concat&,
                           const ConcatOut&, Workspace&);
template void direct_dgrad(const bf16*, const bf16*, const ConvShape&, float, const Concat&, const ConcatOut&,
                           Workspace&);

}  // namespace imago::cpu
