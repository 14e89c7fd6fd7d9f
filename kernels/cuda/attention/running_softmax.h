// The softmax of a row of scores that comes a tile at a time, as both forward kernels on tensor cores keep
// it.
//
// Scores are the accumulators of a warp's 16 rows (m16n8k16 and wgmma agree): number 4 j + 2 half + e of a
// lane is row lane / 4 + 8 half, column 8 j + 2 (lane % 4) + e.
#pragma once

#include "kernels/cuda/device/ptx.h"

namespace imago::IMAGO_CUDA_NAMESPACE {

constexpr float kLog2E = 1.4426950408889634f;

/// Gives `value` to what lies in columns from `valid` on.
template <int kScores>
__device__ __forceinline__ void mask_columns(float* scores, int valid, float value) {
  const int first = static_cast<int>(threadIdx.x) % 4 * 2;
#pragma unroll
  for (int i = 0; i < kScores; ++i)
    if (i / 4 * 8 + first + i % 2 >= valid) scores[i] = value;
}

/// The running softmax (Milakov & Gimelshein 2018) of rows lane / 4 and lane / 4 + 8 of a warp's sixteen.
struct RunningSoftmax {
  float largest[2] = {-INFINITY, -INFINITY};  // of the row so far, in units of log2
  float sum[2] = {0.0f, 0.0f};                // of this lane's share of the row

  /// scores -> exp2(scale_log2 scores - largest); returns what earlier sums must be multiplied by. One
  /// column at least is valid.
  template <int kScores>
  __device__ __forceinline__ float2 update(float* scores, float scale_log2, int valid_columns) {
    float rescale[2];
#pragma unroll
    for (int i = 0; i < kScores; ++i) scores[i] *= scale_log2;
    if (valid_columns < 2 * kScores) mask_columns<kScores>(scores, valid_columns, -INFINITY);
#pragma unroll
    for (int half = 0; half < 2; ++half) {
      float top = largest[half];
#pragma unroll
      for (int i = 2 * half; i < kScores; i += 4) top = fmaxf(top, fmaxf(scores[i], scores[i + 1]));
      top = fmaxf(top, __shfl_xor_sync(0xffffffffu, top, 1));
      top = fmaxf(top, __shfl_xor_sync(0xffffffffu, top, 2));
      rescale[half] = ptx::exp2_approx(largest[half] - top);  // 0 at first; top is finite
      largest[half] = top;
      sum[half] *= rescale[half];
#pragma unroll
      for (int i = 2 * half; i < kScores; i += 4)
#pragma unroll
        for (int e = i; e < i + 2; ++e) {
          scores[e] = ptx::exp2_approx(scores[e] - top);
          sum[half] += scores[e];
        }
    }
    return make_float2(rescale[0], rescale[1]);
  }

  __device__ __forceinline__ float row_sum(int half) const {
    float s = sum[half];
    s += __shfl_xor_sync(0xffffffffu, s, 1);
    return s + __shfl_xor_sync(0xffffffffu, s, 2);
  }
  /// log sum exp of the row.
  __device__ __forceinline__ float log_sum_exp(int half, float row_sum) const {
    return largest[half] / kLog2E + logf(row_sum);
  }
};

}  // namespace imago::IMAGO_CUDA_NAMESPACE
