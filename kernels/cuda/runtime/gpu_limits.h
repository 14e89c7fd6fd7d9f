// What decides how work is cut into blocks: the GPU's size, and whether memory can be read sixteen bytes
// at a time.
//
// The headers named *_tiling.h are plain host C++: which kernel a shape takes, in which tiles and how many of
// them. The launchers beside them and the cost model both ask them, so that what is predicted is what is
// launched.
#pragma once

#include <cstddef>
#include <cstdint>

#include "kernels/backend.h"

namespace imago::tiling {

struct GpuLimits {
  int sms = 1;              // streaming multiprocessors: how many tiles fill the chip
  int capability = 80;      // 10 * major + minor: 80 A100, 89 RTX 40, 90 H100, 120 RTX 50
  size_t shared_bytes = 0;  // the most shared memory a block can have
};

constexpr int64_t ceil_div(int64_t a, int64_t b) {
  return (a + b - 1) / b;
}

inline bool aligned16(const void* p) {
  return reinterpret_cast<uintptr_t>(p) % 16 == 0;
}  // true for null

/// Whether every group of sixteen bytes along the channels is one aligned access.
template <class T>
bool chunks_align(const void* p, int64_t channels) {
  return aligned16(p) && channels % (16 / static_cast<int64_t>(sizeof(T))) == 0;
}
template <class T, class Ref>
bool chunks_align(const BasicConcat<Ref>& x) {
  return chunks_align<T>(x.a.data, x.a.shape[-1]) && (!x.b || chunks_align<T>(x.b.data, x.b.shape[-1]));
}

}  // namespace imago::tiling
