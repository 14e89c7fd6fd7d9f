// The tiles of attention's tensor-core kernels: a block owns 64 queries (or keys) of one head and walks along
// the others, a tile at a time.
#pragma once

#include <algorithm>
#include <type_traits>

#include "kernels/cuda/runtime/gpu_limits.h"

namespace imago::tiling {

constexpr int kAttentionThreads = 128;
constexpr int kAttentionRows = 64;  // of a block: 16 a warp

template <int kD>
constexpr int kKeys = kD == 256 ? 32 : 64;  // of a tile, forward
/// Backward: tokens of the tile that a block walks along, and channels of dk and dv that it owns.
template <int kD>
constexpr int kWalk = kD >= 128 ? 32 : 64;
template <int kD>
constexpr int kSlice = std::min(kD, 128);

/// attention_simple.cu: a block owns eight rows.
constexpr int kSimpleAttentionThreads = 128, kSimpleAttentionRows = 8;

/// Bytes of `rows` tokens of one head in shared memory.
constexpr int head_tile_bytes(int head_dim, int rows) {
  return rows * head_dim * 2;
}

/// f(kD) with the padded head dimension as a constant, for dim <= 256.
template <class F>
auto dispatch_head_dim(int dim, F&& f) {
  if (dim <= 16) return f(std::integral_constant<int, 16>());
  if (dim <= 32) return f(std::integral_constant<int, 32>());
  if (dim <= 64) return f(std::integral_constant<int, 64>());
  if (dim <= 128) return f(std::integral_constant<int, 128>());
  return f(std::integral_constant<int, 256>());
}

/// bfloat16 and a head that fits the tensor-core kernels' registers; everything else takes
/// attention_simple.cu.
inline bool takes_tensor_cores(DType dtype, int64_t dim) {
  return dtype == DType::kBFloat16 && dim <= 256;
}

}  // namespace imago::tiling
