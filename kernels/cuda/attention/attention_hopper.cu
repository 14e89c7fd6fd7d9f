// Attention forward on Hopper's own instructions: the formula of attention.cu.
//
// q, k, v, y [N,T,heads*D] bfloat16, lse [N,heads,T] float32; D a multiple of 8 up to 256, any T.
//
// The idea (Dao 2022; Shah et al. 2024): a block owns 128 queries of one head, a warpgroup 64 of them. One
// thread asks the copy engine (TMA) for tiles of 64 tokens of k and v in turn; the warpgroups multiply them
// straight from shared memory with wgmma, P from registers. P v is not waited for until the next tile's
// scores are: the tensor cores have the next product queued while one runs, and while a warpgroup is at its
// softmax they have the other's. Results go back through the tile of q and the copy engine, which leaves out
// what lies behind the last token.
//
// Cost, of a block, per tile of keys and D = 256: 2 x 2 products of 64 x 64 x 256, 2048 cycles of the tensor
// cores. Scores read 4 KiB of shared memory for 32 of those cycles, P v 8 KiB for 128: 96 bytes a cycle of
// 128. 64 KiB come from L2, 32 bytes a cycle: more than an H100's 25 for every multiprocessor, but q, k, v
// and y from memory take longer yet: at T = 256 0.5 KiB for 128 KFLOP. Shared memory: 2 tiles of q, 4 in the
// ring, 32 KiB each. Registers at D = 256: 128 of y, 32 scores, 16 of P. Not measured on a GPU yet.
#include "kernels/cuda/attention/attention_hopper.h"

#include "kernels/cuda/attention/hopper_tile.h"
#include "kernels/cuda/attention/running_softmax.h"

namespace imago::IMAGO_CUDA_NAMESPACE {
namespace {

template <int kD>
using ForwardRing = TokenRing<TokenTile<kD>::kBytes, kWgmmaForwardStages>;

template <int kD>
__global__ void __launch_bounds__(kWgmmaAttentionThreads, 1)
    attention_wgmma(const __grid_constant__ TensorMap q, const __grid_constant__ TensorMap k,
                    const __grid_constant__ TensorMap v, const __grid_constant__ TensorMap y,
                    float* const lse, const int tokens, const float scale_log2) {
#if IMAGO_HAS_WGMMA
  using Tile = TokenTile<kD>;
  IMAGO_DYNAMIC_SHARED(shared);
  unsigned char* const ring_data = shared + 2 * Tile::kBytes;  // behind q's tiles, one a warpgroup
  uint64_t* const q_full = reinterpret_cast<uint64_t*>(ring_data + kWgmmaForwardStages * Tile::kBytes);
  ForwardRing<kD> ring(ring_data, q_full + 1);
  if (threadIdx.x == 0) {
    ptx::mbarrier_init(q_full, 1);
    ring.init(1);
    ptx::fence_mbarrier_init();
  }
  __syncthreads();

  const int first_query = static_cast<int>(blockIdx.x) * kWgmmaQueries;
  const int warpgroup = static_cast<int>(threadIdx.x) / kWarpgroupThreads;
  if (warpgroup == kWarpgroupsThatMultiply) {
    ptx::registers_decrease<40>();
    if (threadIdx.x % kWarpgroupThreads != 0) return;
    ptx::mbarrier_arrive_expect_tx(q_full, 2 * Tile::kBytes);
    Tile::load(shared, &q, q_full, first_query);
    Tile::load(shared + Tile::kBytes, &q, q_full, first_query + kWgmmaTokens);
    for (int key = 0; key < tokens; key += kWgmmaTokens)
      for (const TensorMap* const map : {&k, &v}) ring.template load<Tile>(map, key);
    return;
  }

  ptx::registers_increase<232>();
  unsigned char* const q_tile = shared + warpgroup * Tile::kBytes;  // [64][kD]
  RunningSoftmax softmax;
  float sum[kD / 2] = {};  // y [64][kD], to be divided by the row's sum
  uint32_t p[kWgmmaTokens / 16][4];
  ptx::mbarrier_wait(q_full, 0);
  for (int key = 0; key < tokens; key += kWgmmaTokens) {
    float scores[kScores];  // [64][64]
    const int k_slot = ring.wait();
    ptx::wgmma_fence();
    Tile::multiply_transposed(scores, q_tile, ring.stage(k_slot));
    ptx::wgmma_commit();
    ptx::wgmma_wait<0>();  // and for the product with the v before
    ptx::wgmma_fence_registers(scores);
    ptx::wgmma_fence_registers(sum);
    if (key > 0) ring.release();
    ring.release();

    const float2 rescale = softmax.update<kScores>(scores, scale_log2, tokens - key);
    pack_scores(p, scores);
#pragma unroll
    for (int i = 0; i < kD / 2; ++i) sum[i] *= i / 2 % 2 ? rescale.y : rescale.x;
    const int v_slot = ring.wait();
    ptx::wgmma_fence();
    Tile::multiply_add(sum, p, ring.stage(v_slot));
    ptx::wgmma_commit();
  }
  ptx::wgmma_wait<0>();
  ptx::wgmma_fence_registers(sum);

  const int thread = static_cast<int>(threadIdx.x) % kWarpgroupThreads, lane = thread % 32;
  const int own_first = first_query + warpgroup * kWgmmaTokens;
  float inverse[2];
#pragma unroll
  for (int half = 0; half < 2; ++half) {
    const float row_sum = softmax.row_sum(half);
    inverse[half] = 1.0f / row_sum;
    const int query = own_first + thread / 32 * 16 + lane / 4 + 8 * half;
    if (lane % 4 == 0 && query < tokens)
      lse[(static_cast<int64_t>(blockIdx.z) * gridDim.y + blockIdx.y) * tokens + query] =
          softmax.log_sum_exp(half, row_sum);
  }
  Tile::store(sum, make_float2(inverse[0], inverse[1]), q_tile, &y, own_first);
#endif
}

}  // namespace

void attention_hopper(const Gpu& gpu, ConstTensorRef q, ConstTensorRef k, ConstTensorRef v, int heads,
                      float scale, TensorRef y, TensorRef lse) {
  const AttentionShape s(q.shape, heads);
  dispatch_wide_head(s.dim, [&](auto d) {
    constexpr int kD = decltype(d)::value;
    const LaunchConfig config{.grid = s.grid(kWgmmaQueries),
                              .block = kWgmmaAttentionThreads,
                              .shared_bytes = (2 + kWgmmaForwardStages) * TokenTile<kD>::kBytes +
                                              (1 + ForwardRing<kD>::kBarriers) * sizeof(uint64_t),
                              .stream = gpu.stream};
    launch(attention_wgmma<kD>, config, token_map(q.data, s), token_map(k.data, s), token_map(v.data, s),
           token_map(y.data, s), lse.as<float>(), s.tokens, scale * kLog2E);
  });
}

}  // namespace imago::IMAGO_CUDA_NAMESPACE
