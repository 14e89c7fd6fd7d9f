// Attention backward. With P = exp(scale q k^T - lse), dP = dy v^T, delta = rowsum(dy * y) and dS = P
// (dP - delta):
//   dq = scale dS k,   dk = scale dS^T q,   dv = P^T dy.
//
// All of [N,T,heads*D] in bfloat16, lse [N,heads,T] float32; D up to 256. (float32 and
// larger D: attention_simple.cu. Heads of more than 32 channels on an H100: attention_backward_hopper.cu.)
//
// The idea (Dao 2022): P is computed again from lse, a tile at a time. One kernel owns queries and walks
// along the keys for dq; another owns keys and walks along the queries for dk and dv, on transposed scores,
// so that P^T and dS^T too are left operands in registers. Sharing the scores between the two would save two
// of seven products, but then one of them has to add into memory that other blocks add to: in an order that
// changes from run to run. Heads of 256 have dk and dv cut into two slices of channels, for want of
// registers; each slice computes the scores again.
//
// Cost: 14 N heads T^2 D FLOP (18 at D = 256) on tensor cores.
#include "kernels/cuda/attention/attention_hopper.h"
#include "kernels/cuda/attention/attention_simple.h"
#include "kernels/cuda/attention/attention_tile.h"
#include "kernels/cuda/attention/running_softmax.h"
#include "kernels/cuda/runtime/cuda_backend.h"

namespace imago::IMAGO_CUDA_NAMESPACE {
namespace {

struct BackwardArgs {
  const __nv_bfloat16 *q, *k, *v, *dy;
  const float *lse, *delta;  // [N,heads,T]
  __nv_bfloat16 *dq, *dk, *dv;
  int tokens, heads, dim, slices;
  float scale;
  bool vector;

  __device__ __forceinline__ int image() const { return static_cast<int>(blockIdx.z) / slices; }
  __device__ __forceinline__ HeadView head(const __nv_bfloat16* tensor) const {
    const int64_t stride = int64_t{heads} * dim;
    return {tensor + int64_t{image()} * tokens * stride + static_cast<int64_t>(blockIdx.y) * dim, stride,
            tokens, dim, vector};
  }
  __device__ __forceinline__ const float* rows(const float* of) const {
    return of + (int64_t{image()} * heads + blockIdx.y) * tokens;
  }
};

// ---- delta[n,h,t] = sum_d dy y: eight lanes a row, eight channels a lane where they come in eights ----

template <class T, bool kVector>
__global__ void __launch_bounds__(256)
    attention_delta_kernel(const T* dy, const T* y, const int tokens, const int heads, const int dim,
                           const int64_t rows, float* delta) {
  const int64_t row = (static_cast<int64_t>(blockIdx.x) * 256 + threadIdx.x) / 8;  // (n T + t) heads + h
  const int lane = static_cast<int>(threadIdx.x) % 8;
  float sum = 0.0f;
  if (row < rows) {
    dy += row * dim, y += row * dim;
    if constexpr (kVector) {
#pragma unroll 2
      for (int d = 8 * lane; d < dim; d += 64) {
        float a[8], b[8];
        load8(dy + d, a);
        load8(y + d, b);
#pragma unroll
        for (int e = 0; e < 8; ++e) sum += a[e] * b[e];
      }
    } else {
      for (int d = lane; d < dim; d += 8) sum += to_float(dy[d]) * to_float(y[d]);
    }
  }
  for (int distance = 4; distance > 0; distance /= 2) sum += __shfl_xor_sync(0xffffffffu, sum, distance);
  if (lane != 0 || row >= rows) return;
  const int64_t token = row / heads, h = row % heads;
  delta[(token / tokens * heads + h) * tokens + token % tokens] = sum;
}

// ---- dq: 64 queries a block, along the keys ----

template <int kD>
__global__ void __launch_bounds__(kAttentionThreads) attention_dq_kernel(const BackwardArgs args) {
  using Tile = HeadTile<kD>;
  constexpr int kColumns = kWalk<kD>;
  IMAGO_DYNAMIC_SHARED(shared);
  unsigned char* const q_tile = shared;                                 // [64][kD]
  unsigned char* const dy_tile = q_tile + Tile::bytes(kAttentionRows);  // [64][kD]
  unsigned char* const k_tile = dy_tile + Tile::bytes(kAttentionRows);  // [kColumns][kD]
  unsigned char* const v_tile = k_tile + Tile::bytes(kColumns);         // [kColumns][kD]
  const HeadView q = args.head(args.q), k = args.head(args.k), v = args.head(args.v), dy = args.head(args.dy);
  const int lane = static_cast<int>(threadIdx.x) % 32, row = static_cast<int>(threadIdx.x) / 32 * 16;
  const int first_query = static_cast<int>(blockIdx.x) * kAttentionRows;

  float lse[2], delta[2];
  for (int half = 0; half < 2; ++half) {
    const int query = first_query + row + lane / 4 + 8 * half;
    lse[half] = query < args.tokens ? args.rows(args.lse)[query] * kLog2E : 0.0f;
    delta[half] = query < args.tokens ? args.rows(args.delta)[query] : 0.0f;
  }
  float dq[kD / 8][4] = {};
  Tile::template load<kAttentionRows>(q, first_query, q_tile);
  Tile::template load<kAttentionRows>(dy, first_query, dy_tile);
  for (int key = 0; key < args.tokens; key += kColumns) {
    Tile::template load<kColumns>(k, key, k_tile);
    Tile::template load<kColumns>(v, key, v_tile);
    ptx::cp_async_commit();
    ptx::cp_async_wait<0>();
    __syncthreads();
    float s[kColumns / 8][4], dp[kColumns / 8][4];
    multiply_transposed<kD, kColumns>(s, q_tile, row, k_tile);
    multiply_transposed<kD, kColumns>(dp, dy_tile, row, v_tile);
#pragma unroll
    for (int j = 0; j < kColumns / 8; ++j)
#pragma unroll
      for (int e = 0; e < 4; ++e) {
        const bool valid = key + 8 * j + lane % 4 * 2 + e % 2 < args.tokens;
        const float p = valid ? ptx::exp2_approx(s[j][e] * args.scale * kLog2E - lse[e / 2]) : 0.0f;
        s[j][e] = p * (dp[j][e] - delta[e / 2]);
      }
    multiply_add<kD, kColumns, kD>(dq, s, k_tile, 0);
    __syncthreads();  // everyone is done with k and v
  }
  store_rows<kD>(dq, {args.scale, args.scale}, const_cast<__nv_bfloat16*>(args.head(args.dq).first), q,
                 first_query + row, 0);
}

// ---- dk and dv: 64 keys a block, along the queries ----

template <int kD>
__global__ void __launch_bounds__(kAttentionThreads) attention_dkv_kernel(const BackwardArgs args) {
  using Tile = HeadTile<kD>;
  constexpr int kColumns = kWalk<kD>;
  IMAGO_DYNAMIC_SHARED(shared);
  unsigned char* const k_tile = shared;                                // [64][kD]
  unsigned char* const v_tile = k_tile + Tile::bytes(kAttentionRows);  // [64][kD]
  unsigned char* const q_tile = v_tile + Tile::bytes(kAttentionRows);  // [kColumns][kD]
  unsigned char* const dy_tile = q_tile + Tile::bytes(kColumns);       // [kColumns][kD]
  float* const lse =
      reinterpret_cast<float*>(dy_tile + Tile::bytes(kColumns));  // [kColumns], in units of log2
  float* const delta = lse + kColumns;                            // [kColumns]
  const HeadView q = args.head(args.q), k = args.head(args.k), v = args.head(args.v), dy = args.head(args.dy);
  const int thread = static_cast<int>(threadIdx.x), lane = thread % 32, row = thread / 32 * 16;
  const int first_key = static_cast<int>(blockIdx.x) * kAttentionRows;
  const int first_channel = static_cast<int>(blockIdx.z) % args.slices * kSlice<kD>;

  float dk[kSlice<kD> / 8][4] = {}, dv[kSlice<kD> / 8][4] = {};
  Tile::template load<kAttentionRows>(k, first_key, k_tile);
  Tile::template load<kAttentionRows>(v, first_key, v_tile);
  for (int query = 0; query < args.tokens; query += kColumns) {
    Tile::template load<kColumns>(q, query, q_tile);
    Tile::template load<kColumns>(dy, query, dy_tile);
    ptx::cp_async_commit();
    if (thread < kColumns) {
      const bool valid = query + thread < args.tokens;
      lse[thread] = valid ? args.rows(args.lse)[query + thread] * kLog2E : 0.0f;
      delta[thread] = valid ? args.rows(args.delta)[query + thread] : 0.0f;
    }
    ptx::cp_async_wait<0>();
    __syncthreads();
    float p[kColumns / 8][4], ds[kColumns / 8][4];  // transposed: rows are keys, columns queries
    multiply_transposed<kD, kColumns>(p, k_tile, row, q_tile);
    multiply_transposed<kD, kColumns>(ds, v_tile, row, dy_tile);
#pragma unroll
    for (int j = 0; j < kColumns / 8; ++j)
#pragma unroll
      for (int e = 0; e < 4; ++e) {
        const int column = 8 * j + lane % 4 * 2 + e % 2;
        p[j][e] = query + column < args.tokens ? ptx::exp2_approx(p[j][e] * args.scale * kLog2E - lse[column])
                                               : 0.0f;
        ds[j][e] = p[j][e] * (ds[j][e] - delta[column]);
      }
    multiply_add<kD, kColumns, kSlice<kD>>(dv, p, dy_tile, first_channel / 8);
    multiply_add<kD, kColumns, kSlice<kD>>(dk, ds, q_tile, first_channel / 8);
    __syncthreads();  // everyone is done with q, dy, lse and delta
  }
  store_rows<kSlice<kD>>(dv, {1.0f, 1.0f}, const_cast<__nv_bfloat16*>(args.head(args.dv).first), k,
                         first_key + row, first_channel);
  store_rows<kSlice<kD>>(dk, {args.scale, args.scale}, const_cast<__nv_bfloat16*>(args.head(args.dk).first),
                         k, first_key + row, first_channel);
}

void launch_delta(const Gpu& gpu, ConstTensorRef dy, ConstTensorRef y, const AttentionShape& s,
                  float* delta) {
  const int64_t rows = int64_t{s.images} * s.tokens * s.heads;
  const bool vector = s.dim % 8 == 0 && aligned16(dy.data) && aligned16(y.data);
  dispatch_float(dy.dtype, "attention_backward", [&](auto t) {
    using T = decltype(t);
    launch(vector ? attention_delta_kernel<T, true> : attention_delta_kernel<T, false>,
           {.grid = blocks_for(rows * 8, 256), .block = 256, .stream = gpu.stream}, dy.as<T>(), y.as<T>(),
           s.tokens, s.heads, s.dim, rows, delta);
  });
}

}  // namespace

void CudaBackend::attention_backward(ConstTensorRef dy, ConstTensorRef q, ConstTensorRef k, ConstTensorRef v,
                                     ConstTensorRef y, ConstTensorRef lse, int heads, float scale,
                                     TensorRef dq, TensorRef dk, TensorRef dv, Workspace& workspace) {
  if (q.numel() == 0) return;
  const AttentionShape shape(q.shape, heads);
  auto* const delta = static_cast<float*>(workspace.get(lse.numel() * sizeof(float)));
  launch_delta(gpu_, dy, y, shape, delta);
  if (!takes_tensor_cores(q.dtype, shape.dim))
    return attention_backward_simple(gpu_, dy, q, k, v, lse, delta, heads, scale, dq, dk, dv);
  using T = __nv_bfloat16;
  bool vector = shape.dim % 8 == 0;
  for (const void* p : {dy.data, q.data, k.data, v.data, static_cast<const void*>(dq.data),
                        static_cast<const void*>(dk.data), static_cast<const void*>(dv.data)})
    vector = vector && aligned16(p);
  if (takes_wgmma(gpu_, shape.dim, vector))
    return attention_backward_hopper(gpu_, dy, q, k, v, lse, delta, heads, scale, dq, dk, dv);
  BackwardArgs args{q.as<T>(),   k.as<T>(),  v.as<T>(),  dy.as<T>(), lse.as<float>(),
                    delta,       dq.as<T>(), dk.as<T>(), dv.as<T>(), shape.tokens,
                    shape.heads, shape.dim,  1,          scale,      vector};
  dispatch_head_dim(shape.dim, [&](auto d) {
    constexpr int kD = decltype(d)::value;
    const auto config = [&](int slices) {
      return LaunchConfig{.grid = shape.grid(kAttentionRows, slices),
                          .block = kAttentionThreads,
                          .shared_bytes = HeadTile<kD>::bytes(2 * kAttentionRows + 2 * kWalk<kD>) +
                                          2 * kWalk<kD> * sizeof(float),
                          .stream = gpu_.stream};
    };
    launch(attention_dq_kernel<kD>, config(1), args);
    args.slices = kD / kSlice<kD>;
    launch(attention_dkv_kernel<kD>, config(args.slices), args);
  });
}

}  // namespace imago::IMAGO_CUDA_NAMESPACE
