// The tiles of implicit_gemm.h: their sizes, and which of them a shape takes.
#pragma once

#include <algorithm>

#include "kernels/cuda/runtime/choice.h"
#include "kernels/cuda/runtime/gpu_limits.h"

namespace imago::tiling {

constexpr int kStages = 4;         // three tiles on their way while one is worked on
constexpr int kChunkBytes = 16;    // what one cp.async moves
constexpr int kChunksPerLine = 4;  // a tile is 64 bytes deep along k

/// How a tile of the result is cut: kM x kN by kWarpsM x kWarpsN warps (bfloat16) or by threads that own
/// kThreadM x kThreadN elements (float32).
template <int kM_, int kN_, int kWarpsM_, int kWarpsN_>
struct TileShape {
  static constexpr int kM = kM_, kN = kN_, kWarpsM = kWarpsM_, kWarpsN = kWarpsN_;
  static constexpr int kThreads = 32 * kWarpsM * kWarpsN;
};

using LargeTile = TileShape<128, 128, 2, 4>;  // 64 x 32 a warp: 64 accumulators a thread
using SmallTile = TileShape<64, 64, 2, 2>;    // 32 x 32 a warp; for few tiles and for odd shapes

/// The ring of stages, which the tile of results replaces in the end.
constexpr int gemm_shared_bytes(int m, int n) {
  return std::max(kStages * (m + n) * kChunksPerLine * kChunkBytes, m * n * 4);
}

/// Blocks that share a multiprocessor: two of 256 threads leave 128 registers a thread, enough for everything
/// but 8 x 8 float32 results with their factors.
constexpr int gemm_blocks(size_t element_bytes, int threads) {
  return element_bytes == 4 && threads == 256 ? 1 : 512 / threads;
}

/// C(m,n) = sum_k A(m,k) B(n,k) in tiles, k in parts.
struct GemmTiling {
  bool vector, large;        // LargeTile or SmallTile
  int64_t tiles_m, tiles_n;  // of the result
  int parts, depth;          // of k, and how much of it each takes: a whole number of steps

  int64_t tiles() const { return tiles_m * tiles_n; }
  Kernel kernel() const { return large ? Kernel::kTile128 : Kernel::kTile64; }
};

/// In tiles of kTile128 or kTile64. vector: both operands can be read sixteen bytes at a time, which kTile128
/// wants. step: k's of one tile.
inline GemmTiling gemm_tiling(Kernel kernel, bool vector, int64_t lines, int64_t columns, int64_t depth,
                              int step, int parts) {
  const auto of = [&](auto shape, bool large) {
    GemmTiling t{vector, large, ceil_div(lines, shape.kM), ceil_div(columns, shape.kN), parts, 0};
    t.depth = static_cast<int>(std::max<int64_t>(1, ceil_div(ceil_div(depth, step), parts)) * step);
    return t;
  };
  return kernel == Kernel::kTile128 ? of(LargeTile{}, true) : of(SmallTile{}, false);
}

/// By rule: the large tile, where it gives every multiprocessor one.
inline GemmTiling gemm_tiling(const GpuLimits& gpu, bool vector, int64_t lines, int64_t columns,
                              int64_t depth, int step, int parts) {
  const GemmTiling large = gemm_tiling(Kernel::kTile128, vector, lines, columns, depth, step, parts);
  if (vector && large.tiles() * parts >= gpu.sms) return large;
  return gemm_tiling(Kernel::kTile64, vector, lines, columns, depth, step, parts);
}

}  // namespace imago::tiling
