// Filters as our own convolutions take them up to pack them: square blocks of output x input channels of one
// tap, vectors along the output channels.
#pragma once

#include "kernels/cpu/simd.h"

namespace imago::cpu {

/// The weights w [K,R,S,C] of the forward pass. They lie with the input channels together, so blocks are
/// transposed in registers.
template <class T>
struct ForwardFilters {
  const T* w;
  int64_t r_size, s_size, channels;  // R, S, C

  /// block[i] = w[k .. k + lanes, r, s, c + i] for i < depth; lanes beyond kLanes or below 1 are clipped,
  /// what is not there is zero.
  void load(int64_t k, int64_t lanes, int64_t r, int64_t s, int64_t c, int64_t depth,
            Vec (&block)[kLanes]) const {
    const int64_t step = r_size * s_size * channels;
    const T* const from = w + k * step + (r * s_size + s) * channels + c;
    for (int64_t i = 0; i < kLanes; ++i) block[i] = i < lanes ? load_up_to(from + i * step, depth) : Vec{};
    transpose(block);
  }
};

/// The same weights as dgrad sees them: a convolution of dy with the filter turned by 180 degrees, K and C
/// exchanged. Its output channels lie together.
template <class T>
struct TurnedFilters {
  const T* w;
  int64_t r_size, s_size, channels;  // R, S, C

  /// block[i] = w[k + i, R - 1 - r, S - 1 - s, c .. c + lanes] for i < depth; the rest as above.
  void load(int64_t c, int64_t lanes, int64_t r, int64_t s, int64_t k, int64_t depth,
            Vec (&block)[kLanes]) const {
    const int64_t tap = (r_size - 1 - r) * s_size + s_size - 1 - s;
    for (int64_t i = 0; i < depth; ++i) {
      const T* const from = w + ((k + i) * r_size * s_size + tap) * channels + c;
      block[i] = lanes > 0 ? load_up_to(from, lanes) : Vec{};
    }
  }
};

}  // namespace imago::cpu
