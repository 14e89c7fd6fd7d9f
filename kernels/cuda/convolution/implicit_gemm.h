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

#include "kernels/cuda/convolution/line_sums.h"
#include "kernels/cuda/convolution/tile_product.h"
#include "kernels/cuda/runtime/gpu.h"

namespace imago::IMAGO_CUDA_NAMESPACE {

/// An `Out` that may want the sums of A's lines along k, too, from the first line_shares() tiles of each row
/// of tiles: they take turns, step by step. line_sum(share, m, sum).
template <class Out>
concept TakesLineSums = requires(const Out& out) {
  out.line_shares();
};

/// grid.x: tiles of C, neighbours along n first, because they share A. grid.z: parts of k, `depth` k's each.
template <class Shape, bool kVector, class A, class B, class Out>
__global__ void __launch_bounds__(Shape::kThreads, gemm_blocks(sizeof(typename A::Element), Shape::kThreads))
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
  LineSums<T, Shape> sums(thread);
  const int share = tile % tiles_n;
  int shares = 0, steps_to_turn = steps;  // never
  if constexpr (TakesLineSums<Out>) {
    static_assert(!A::kKInner, "LineSums reads tiles with k outside");
    shares = out.line_shares();
    if (share < shares) steps_to_turn = share;
  }
#pragma unroll
  for (int step = 0; step < kStages - 1; ++step) load(step);
  for (int step = 0; step < steps; ++step) {
    ptx::cp_async_wait<kStages - 2>();
    __syncthreads();
    load(step + kStages - 1);
    product.multiply(ring_a + step % kStages * LoaderA::Tile::kBytes,
                     ring_b + step % kStages * LoaderB::Tile::kBytes);
    if constexpr (TakesLineSums<Out>) {
      if (steps_to_turn-- == 0) {
        sums.add(ring_a + step % kStages * LoaderA::Tile::kBytes);
        steps_to_turn = shares - 1;
      }
    }
  }
  if constexpr (TakesLineSums<Out>) {
    if (share < shares)
      sums.for_each([&](int row, float sum) {
        if (m0 + row < out.lines) out.line_sum(share, m0 + row, sum);
      });
  }

  __syncthreads();  // the ring becomes the tile of results
  float* const result = reinterpret_cast<float*>(shared);
  product.store(result);
  __syncthreads();
  constexpr int kRow = Shape::kN / 8;   // threads a row
#pragma unroll(sizeof(T) == 4 ? 2 : 4)  // what the epilogue reads, in float32 twice the registers
  for (int id = thread; id < Shape::kM * kRow; id += Shape::kThreads) {
    const int row = id / kRow, column = id % kRow * 8;
    if (m0 + row >= out.lines || n0 + column >= out.columns) continue;
    float v[8];
    load8(result + ResultTile<Shape::kN>::index(row, column), v);
    out(m0 + row, n0 + column, v);
  }
}

/// C = A B^T, cut as `tiling` says; parts of k are kept apart by Out, by blockIdx.z.
template <class A, class B, class Out>
void run_implicit_gemm(const Gpu& gpu, const GemmTiling& tiling, const A& a, const B& b, const Out& out) {
  check(tiling.tiles() < (int64_t{1} << 31), "convolution on CUDA: too many tiles");
  auto start = [&]<class Shape, bool kVector>(Shape, std::bool_constant<kVector>) {
    LaunchConfig config;
    config.grid = dim3(static_cast<unsigned>(tiling.tiles()), 1, static_cast<unsigned>(tiling.parts));
    config.block = Shape::kThreads;
    config.shared_bytes = gemm_shared_bytes(Shape::kM, Shape::kN);
    config.stream = gpu.stream;
    launch(implicit_gemm<Shape, kVector, A, B, Out>, config, a, b, out, static_cast<int>(tiling.tiles_n),
           tiling.depth);
  };
  if (!tiling.vector)
    start(SmallTile{}, std::false_type{});
  else if (tiling.large)
    start(LargeTile{}, std::true_type{});
  else
    start(SmallTile{}, std::true_type{});
}

}  // namespace imago::IMAGO_CUDA_NAMESPACE
