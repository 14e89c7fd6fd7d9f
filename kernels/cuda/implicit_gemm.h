// The one kernel behind convolution forward, dgrad and wgrad and behind every linear layer, where the Hopper
// kernels do not apply: C(m,n) = sum_k A(m,k) B(n,k), then whatever `Out` does with eight neighbours of C.
//
// The idea: a convolution is a matrix product whose big operand never exists (Chetlur et al. 2014). Each
// block owns a tile of C and walks along k; four-stage cp.async ring, one barrier a step: the barrier that
// says "the tile has arrived for everyone" also says "everyone is done with the stage that is overwritten
// next". The finished tile goes through shared memory once more, so that the epilogue reads and writes
// sixteen bytes a thread.
//
// Cost per block and step: kM kN kDepth multiply-adds for (kM + kN) * 64 bytes loaded. At 128 x 128 in
// bfloat16 that is 64 FLOP per byte from L2. Every byte of A is read by four warps and every byte of B by
// two, 48 KiB a step from shared memory: 96 bytes a cycle at an A100's full rate, under its 128; at an H100's
// rate it would be 192, so there two thirds of the peak is the limit (and wgmma the way past it).
#pragma once

#include <algorithm>

#include "kernels/cuda/gpu.h"
#include "kernels/cuda/tile_product.h"

namespace imago::IMAGO_CUDA_NAMESPACE {

using LargeTile = TileShape<128, 128, 2, 4>;  // 64 x 32 a warp: 64 accumulators a thread
using SmallTile = TileShape<64, 64, 2, 2>;    // 32 x 32 a warp; for few tiles and for odd shapes

template <class T, class Shape>
constexpr int kGemmSharedBytes = std::max(kStages*(Shape::kM + Shape::kN) * kChunksPerLine * kChunkBytes,
                                          Shape::kM* Shape::kN * 4);

/// Blocks that share a multiprocessor: two of 256 threads leave 128 registers a thread, enough for everything
/// but 8 x 8 float32 results with their factors.
template <class T, class Shape>
constexpr int kGemmBlocks = sizeof(T) == 4 && Shape::kThreads == 256 ? 1 : 512 / Shape::kThreads;

/// grid.x: tiles of C, neighbours along n first, because they share A. grid.z: parts of k, `depth` k's each.
template <class Shape, bool kVector, class A, class B, class Out>
__global__ void __launch_bounds__(Shape::kThreads, kGemmBlocks<typename A::Element, Shape>)
    implicit_gemm(const A a, const B b, const Out out, const int tiles_n, const int depth) {
  using T = typename A::Element;
  using LoaderA = TileLoader<A, Shape::kM, Shape::kThreads, kVector>;
  using LoaderB = TileLoader<B, Shape::kN, Shape::kThreads, kVector>;
  IMAGO_DYNAMIC_SHARED(shared);
  unsigned char* const ring_a = shared;
  unsigned char* const ring_b = shared + kStages * LoaderA::Tile::kBytes;

  const int thread = static_cast<int>(threadIdx.x), tile = static_cast<int>(blockIdx.x);
  const int m0 = tile / tiles_n * Shape::kM, n0 = tile % tiles_n * Shape::kN;
  const int k_begin = static_cast<int>(blockIdx.z) * depth, k_end = min(k_begin + depth, a.depth);
  const int steps = (k_end - k_begin + kDepth<T> - 1) / kDepth<T>;  // 0 if the last parts are empty

  const LoaderA load_a(a, m0, thread);
  const LoaderB load_b(b, n0, thread);
  auto load = [&](int step) {
    if (step < steps) {
      const int k = k_begin + step * kDepth<T>;
      load_a.load(a, ring_a + step % kStages * LoaderA::Tile::kBytes, k);
      load_b.load(b, ring_b + step % kStages * LoaderB::Tile::kBytes, k);
    }
    ptx::cp_async_commit();  // also when empty, so that the count of groups stays in step
  };

  TileProduct<T, Shape, A::kKInner, B::kKInner> product(thread);
#pragma unroll
  for (int step = 0; step < kStages - 1; ++step) load(step);
  for (int step = 0; step < steps; ++step) {
    ptx::cp_async_wait<kStages - 2>();
    __syncthreads();
    load(step + kStages - 1);
    product.multiply(ring_a + step % kStages * LoaderA::Tile::kBytes,
                     ring_b + step % kStages * LoaderB::Tile::kBytes);
  }

  __syncthreads();  // the ring becomes the tile of results
  float* const result = reinterpret_cast<float*>(shared);
  product.store(result);
  __syncthreads();
  constexpr int kRow = Shape::kN / 8;  // threads a row
#pragma unroll(sizeof(T) == 4 ? 2 : 4)  // what the epilogue reads, in float32 twice the registers
  for (int id = thread; id < Shape::kM * kRow; id += Shape::kThreads) {
    const int row = id / kRow, column = id % kRow * 8;
    if (m0 + row >= out.lines || n0 + column >= out.columns) continue;
    float v[8];
    load8(result + ResultTile<Shape::kN>::index(row, column), v);
    out(m0 + row, n0 + column, v);
  }
}

/// C = A B^T with the tile that suits the shape. `parts` cuts k into as many pieces, which Out keeps apart by
/// blockIdx.z; a part is a whole number of steps.
template <class A, class B, class Out>
void run_implicit_gemm(const Gpu& gpu, bool vector, const A& a, const B& b, const Out& out, int parts = 1) {
  using T = typename A::Element;
  auto tiles = [&](int m, int n) { return ((out.lines + m - 1) / m) * int64_t{(out.columns + n - 1) / n}; };
  auto start = [&]<class Shape, bool kVector>(Shape, std::bool_constant<kVector>) {
    const int steps = (a.depth + kDepth<T> - 1) / kDepth<T>;
    const int depth = std::max(1, (steps + parts - 1) / parts) * kDepth<T>;
    const int64_t count = tiles(Shape::kM, Shape::kN);
    check(count < (int64_t{1} << 31), "convolution on CUDA: too many tiles");
    LaunchConfig config;
    config.grid = dim3(static_cast<unsigned>(count), 1, static_cast<unsigned>(parts));
    config.block = Shape::kThreads;
    config.shared_bytes = kGemmSharedBytes<T, Shape>;
    config.stream = gpu.stream;
    launch(implicit_gemm<Shape, kVector, A, B, Out>, config, a, b, out,
           (out.columns + Shape::kN - 1) / Shape::kN, depth);
  };
  if (!vector)
    start(SmallTile{}, std::false_type{});
  else if (tiles(LargeTile::kM, LargeTile::kN) * parts >= gpu.sms)
    start(LargeTile{}, std::true_type{});
  else
    start(SmallTile{}, std::true_type{});
}

}  // namespace imago::IMAGO_CUDA_NAMESPACE
