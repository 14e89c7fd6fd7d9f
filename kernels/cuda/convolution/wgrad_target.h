// Where the sums of conv2d_wgrad go: what its three kernels share.
#pragma once

#include "kernels/cuda/device/vec.h"

namespace imago::IMAGO_CUDA_NAMESPACE {

/// Either the gradients themselves, dw [K,(R,S,C)] and dbias [K], to which scaled sums are added, or scratch
/// memory in which every part of the pixels keeps its own sums: [parts,K,(R,S,C)] and [parts,shares,K].
struct WgradTarget {
  float* dw;
  float* dbias;  // null: nobody wants it
  float scale;
  int outputs, columns;  // K, R * S * C
  bool in_parts;
  int shares;  // so many tiles of columns, the first, take turns in summing dy; 0 without dbias

  __host__ __device__ int64_t weights() const { return int64_t{outputs} * columns; }
  __device__ __forceinline__ float* dw_of(int part) const { return in_parts ? dw + part * weights() : dw; }
  __device__ __forceinline__ void put(float* at, float sum) const {
    *at = in_parts ? sum : *at + scale * sum;
  }
  __device__ __forceinline__ void put_bias(int part, int share, int k, float sum) const {
    put(dbias + (in_parts ? (int64_t{part} * shares + share) * outputs : 0) + k, sum);
  }
};

}  // namespace imago::IMAGO_CUDA_NAMESPACE
