// Attention forward: y = softmax(scale q k^T) v per image and head; lse = log sum exp of the scaled scores.
//
// q, k, v, y [N,T,heads*D] bfloat16, lse [N,heads,T] float32; D up to 256, any T. (float32 and
// larger D: attention_simple.cu. Heads of more than 32 channels on an H100: attention_hopper.cu.)
//
// The idea (Dao 2022, 2023): a block owns 64 queries of one head and walks along the keys, a tile at a time.
// Scores are exponentiated against the largest one seen so far (Milakov & Gimelshein 2018); when a larger one
// comes, what was summed is scaled down. So the T x T matrix exists only as 16 x 64 pieces in a warp's
// registers, where it turns into the left operand of P v without moving. While a tile of scores is worked on,
// v's tile is on its way; while P v is, the next tile of k.
//
// Cost: 4 N heads T^2 D FLOP on tensor cores; q, k, v, y through memory once, k and v T / 64
// times through L2.
#include "kernels/cuda/attention/attention_hopper.h"
#include "kernels/cuda/attention/attention_simple.h"
#include "kernels/cuda/attention/attention_tile.h"
#include "kernels/cuda/attention/running_softmax.h"
#include "kernels/cuda/runtime/cuda_backend.h"

namespace imago::IMAGO_CUDA_NAMESPACE {
namespace {

struct ForwardArgs {
  const __nv_bfloat16 *q, *k, *v;
  __nv_bfloat16* y;
  float* lse;
  int tokens, heads, dim;
  float scale;
  bool vector;

  __device__ __forceinline__ HeadView head(const __nv_bfloat16* tensor) const {
    const int64_t stride = int64_t{heads} * dim;
    return {
        tensor + static_cast<int64_t>(blockIdx.z) * tokens * stride + static_cast<int64_t>(blockIdx.y) * dim,
        stride, tokens, dim, vector};
  }
};

template <int kD>
__global__ void __launch_bounds__(kAttentionThreads) attention_kernel(const ForwardArgs args) {
  using Tile = HeadTile<kD>;
  IMAGO_DYNAMIC_SHARED(shared);
  unsigned char* const q_tile = shared;                                // [64][kD]
  unsigned char* const k_tile = q_tile + Tile::bytes(kAttentionRows);  // [keys][kD]
  unsigned char* const v_tile = k_tile + Tile::bytes(kKeys<kD>);       // [keys][kD]
  const HeadView q = args.head(args.q), k = args.head(args.k), v = args.head(args.v);
  const int first_query = static_cast<int>(blockIdx.x) * kAttentionRows,
            row = static_cast<int>(threadIdx.x) / 32 * 16;

  RunningSoftmax softmax;
  float y[kD / 8][4] = {};
  Tile::template load<kAttentionRows>(q, first_query, q_tile);
  Tile::template load<kKeys<kD>>(k, 0, k_tile);
  ptx::cp_async_commit();
  for (int key = 0; key < args.tokens; key += kKeys<kD>) {
    Tile::template load<kKeys<kD>>(v, key, v_tile);
    ptx::cp_async_commit();
    ptx::cp_async_wait<1>();
    __syncthreads();  // q and k are here
    float scores[kKeys<kD> / 8][4];
    multiply_transposed<kD, kKeys<kD>>(scores, q_tile, row, k_tile);
    const float2 rescale =
        softmax.update<kKeys<kD> / 2>(&scores[0][0], args.scale * kLog2E, args.tokens - key);
#pragma unroll
    for (int i = 0; i < kD / 8; ++i) {
      y[i][0] *= rescale.x, y[i][1] *= rescale.x;
      y[i][2] *= rescale.y, y[i][3] *= rescale.y;
    }
    __syncthreads();  // everyone is done with k
    if (key + kKeys<kD> < args.tokens) Tile::template load<kKeys<kD>>(k, key + kKeys<kD>, k_tile);
    ptx::cp_async_commit();  // also when empty, so that the count of groups stays in step
    ptx::cp_async_wait<1>();
    __syncthreads();  // v is here
    multiply_add<kD, kKeys<kD>, kD>(y, scores, v_tile, 0);
    __syncthreads();  // everyone is done with v
  }

  const int lane = static_cast<int>(threadIdx.x) % 32;
  float inverse[2];
#pragma unroll
  for (int half = 0; half < 2; ++half) {
    const float sum = softmax.row_sum(half);
    inverse[half] = 1.0f / sum;
    const int query = first_query + row + lane / 4 + 8 * half;
    if (lane % 4 == 0 && query < args.tokens)
      args.lse[(static_cast<int64_t>(blockIdx.z) * args.heads + blockIdx.y) * args.tokens + query] =
          softmax.log_sum_exp(half, sum);
  }
  store_rows<kD>(y, inverse, const_cast<__nv_bfloat16*>(args.head(args.y).first), q, first_query + row, 0);
}

}  // namespace

void CudaBackend::attention(ConstTensorRef q, ConstTensorRef k, ConstTensorRef v, int heads, float scale,
                            TensorRef y, TensorRef lse, Workspace&) {
  if (q.numel() == 0) return;
  const AttentionShape shape(q.shape, heads);
  if (!takes_tensor_cores(q.dtype, shape.dim)) return attention_simple(gpu_, q, k, v, heads, scale, y, lse);
  using T = __nv_bfloat16;
  const bool vector =
      shape.dim % 8 == 0 && aligned16(q.data) && aligned16(k.data) && aligned16(v.data) && aligned16(y.data);
  if (takes_wgmma(gpu_, shape.dim, vector)) return attention_hopper(gpu_, q, k, v, heads, scale, y, lse);
  const ForwardArgs args{q.as<T>(),    k.as<T>(),   v.as<T>(), y.as<T>(), lse.as<float>(),
                         shape.tokens, shape.heads, shape.dim, scale,     vector};
  dispatch_head_dim(shape.dim, [&](auto d) {
    constexpr int kD = decltype(d)::value;
    const LaunchConfig config{
        .grid = shape.grid(kAttentionRows),
        .block = kAttentionThreads,
        .shared_bytes = static_cast<size_t>(HeadTile<kD>::bytes(kAttentionRows + 2 * kKeys<kD>)),
        .stream = gpu_.stream};
    launch(attention_kernel<kD>, config, args);
  });
}

}  // namespace imago::IMAGO_CUDA_NAMESPACE
