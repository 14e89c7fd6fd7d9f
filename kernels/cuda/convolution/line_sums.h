// sum_k A(m,k) for one tile in shared memory, beside the product with B (tile_product.h): the product with
// one more column of B that holds ones. For A with k outside.
#pragma once

#include "kernels/cuda/convolution/tile_product.h"

namespace imago::IMAGO_CUDA_NAMESPACE {

template <class T, class Shape>
class LineSums;

/// bfloat16: a fragment of ones is a constant in registers, and each warp sums sixteen of its block's lines:
/// one ldmatrix and one mma, exact products, for every sixteen of its own product. On ordinary pipelines the
/// same sums would take as many instructions as the whole product.
template <class Shape>
class LineSums<__nv_bfloat16, Shape> {
  static constexpr int kWarpM = Shape::kM / Shape::kWarpsM;
  static_assert(kWarpM == 16 * Shape::kWarpsN, "the warps that share lines have sixteen each");

 public:
  __device__ explicit LineSums(int thread)
      : lane_(thread % 32), m_(thread / 32 / Shape::kWarpsN * kWarpM + thread / 32 % Shape::kWarpsN * 16) {}

  __device__ __forceinline__ void add(const unsigned char* a) {
    const uint32_t ones[2] = {0x3f803f80u, 0x3f803f80u};
#pragma unroll
    for (int k = 0; k < kDepth<__nv_bfloat16>; k += 16) {
      uint32_t f[4];
      load_transposed_a<Shape::kM>(f, a, lane_, m_, k);
      ptx::mma_m16n8k16_bf16(sum_, f, ones);  // eight columns, all alike
    }
  }
  /// f(line of the tile, its sum)
  template <class F>
  __device__ __forceinline__ void for_each(F&& f) const {
    if (lane_ % 4 != 0) return;
    f(m_ + lane_ / 4, sum_[0]);
    f(m_ + lane_ / 4 + 8, sum_[2]);
  }

 private:
  int lane_, m_;
  float sum_[4] = {};
};

/// float32: a thread a line.
template <class Shape>
class LineSums<float, Shape> {
  static_assert(Shape::kM <= Shape::kThreads);

 public:
  __device__ explicit LineSums(int thread) : line_(thread) {}

  __device__ __forceinline__ void add(const unsigned char* a) {
    if (line_ >= Shape::kM) return;
#pragma unroll
    for (int k = 0; k < kDepth<float>; ++k)
      sum_ +=
          reinterpret_cast<const float*>(a + KOuterTile<float, Shape::kM>::offset(k, line_ / 4))[line_ % 4];
  }
  template <class F>
  __device__ __forceinline__ void for_each(F&& f) const {
    if (line_ < Shape::kM) f(line_, sum_);
  }

 private:
  int line_;
  float sum_ = 0;
};

}  // namespace imago::IMAGO_CUDA_NAMESPACE
