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

// ---- On Hopper's own instructions: attention_hopper.cu, attention_backward_hopper.cu ----

constexpr int kWgmmaTokens = 64;  // of a tile, and of the scores that a warpgroup multiplies at a time
constexpr int kWgmmaAttentionThreads = 3 * 128;  // two warpgroups multiply, one loads
constexpr int kWgmmaQueries = 2 * kWgmmaTokens;  // of a block, forward and for dq
// Of their rings: tiles of k and v; the same for dq, where q and dy leave no room for more; tiles of both q
// and dy for dk and dv.
constexpr int kWgmmaForwardStages = 4, kWgmmaQueryStages = 3, kWgmmaKeyStages = 2;

/// An H100, rows that TMA can fetch, and heads that are not mostly padding in blocks of 64 channels.
inline bool takes_wgmma(const GpuLimits& gpu, int64_t dim, bool vector) {
  return gpu.capability == 90 && vector && dim > 32 && dim <= 256;
}

/// f(kD) for the heads that take_wgmma says yes to.
template <class F>
auto dispatch_wide_head(int dim, F&& f) {
  if (dim <= 64) return f(std::integral_constant<int, 64>());
  if (dim <= 128) return f(std::integral_constant<int, 128>());
  return f(std::integral_constant<int, 256>());
}

}  // namespace imago::tiling
