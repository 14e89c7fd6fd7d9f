// Attention backward on Hopper's own instructions: the formulas of attention_backward.cu.
//
// All of [N,T,heads*D] in bfloat16, lse and delta [N,heads,T] float32; D a multiple of 8 up to 256, any T.
//
// The idea (Dao 2022; Shah et al. 2024): P again from lse, in the two walks of attention_backward.cu. One
// walk for all three gradients would save two of seven products, but at T = D = 256 their sums alone are
// three times a multiprocessor's registers.
//
// For dq a warpgroup owns 64 queries: it multiplies dy by a tile of v and q by one of k, and dS goes from its
// registers into the product with k. v comes before k: its stage of the ring is free again as soon as dP is
// there, so that three stages keep a tile on its way.
//
// For dk and dv a block owns 64 keys, on transposed scores, and the work is shared by product: the first
// warpgroup makes P^T and sums dv, the second makes dP^T and sums dk. P^T goes from one to the other as the
// bfloat16 pairs of the first's own next product, sixteen bytes a thread at a time: both hold the same scores
// in the same registers. So the four products are done once, and each warpgroup has room for all channels of
// one sum.
//
// Cost at D = 256. dq, of a block (128 queries) and tile of keys: 6 products of 64 x 64 x 256, 3072 cycles of
// the tensor cores, in which they read 107 bytes of shared memory a cycle (of 128) and 64 KiB come from L2,
// 21 bytes a cycle. Shared memory: 4 tiles of q and dy, 3 in the ring, 32 KiB each; registers: 128 of dq, 64
// of S and dP, 16 of dS. dk and dv, of a block (64 keys) and tile of queries: 4 products, 2048 cycles, 96
// bytes a cycle; 64 KiB from L2, 32 bytes a cycle of 25 that an H100 has for each multiprocessor: this is
// what it waits for. Shared memory: tiles of k and v, two stages of q and dy, 8 KiB of P^T. Not measured on a
// GPU yet.
#include "kernels/cuda/attention/attention_hopper.h"

#include "kernels/cuda/attention/hopper_tile.h"
#include "kernels/cuda/attention/running_softmax.h"

namespace imago::IMAGO_CUDA_NAMESPACE {
namespace {

/// lse and delta of the block's head.
struct RowStatistics {
  const float *lse, *delta;  // [N,heads,T]

  __device__ __forceinline__ RowStatistics of_head(int tokens) const {
    const int64_t first = (static_cast<int64_t>(blockIdx.z) * gridDim.y + blockIdx.y) * tokens;
    return {lse + first, delta + first};
  }
};

// ---- dq: 128 queries a block, along the keys ----

template <int kD>
using QueryRing = TokenRing<TokenTile<kD>::kBytes, kWgmmaQueryStages>;
template <int kD>
constexpr size_t kQuerySharedBytes = (4 + kWgmmaQueryStages) * TokenTile<kD>::kBytes +
                                     (1 + QueryRing<kD>::kBarriers) * sizeof(uint64_t);

/// dS = P (dP - delta) in place of the scores, where P = exp2(scale_log2 scores - lse_log2).
__device__ __forceinline__ void to_score_gradients(float (&scores)[kScores], const float (&dp)[kScores],
                                                   float scale_log2, const float (&lse_log2)[2],
                                                   const float (&delta)[2], int valid_keys) {
#pragma unroll
  for (int i = 0; i < kScores; ++i) {
    const int half = i / 2 % 2;
    scores[i] = ptx::exp2_approx(fmaf(scores[i], scale_log2, -lse_log2[half])) * (dp[i] - delta[half]);
  }
  if (valid_keys < kWgmmaTokens) mask_columns<kScores>(scores, valid_keys, 0.0f);
}

template <int kD>
__global__ void __launch_bounds__(kWgmmaAttentionThreads, 1)
    attention_dq_wgmma(const __grid_constant__ TensorMap q, const __grid_constant__ TensorMap k,
                       const __grid_constant__ TensorMap v, const __grid_constant__ TensorMap dy,
                       const __grid_constant__ TensorMap dq, const RowStatistics statistics, const int tokens,
                       const float scale) {
#if IMAGO_HAS_WGMMA
  using Tile = TokenTile<kD>;
  IMAGO_DYNAMIC_SHARED(shared);
  unsigned char* const dy_tiles = shared + 2 * Tile::kBytes;  // behind q's, one a warpgroup
  unsigned char* const ring_data = dy_tiles + 2 * Tile::kBytes;
  uint64_t* const own_full = reinterpret_cast<uint64_t*>(ring_data + kWgmmaQueryStages * Tile::kBytes);
  QueryRing<kD> ring(ring_data, own_full + 1);
  if (threadIdx.x == 0) {
    ptx::mbarrier_init(own_full, 1);
    ring.init(1);
    ptx::fence_mbarrier_init();
  }
  __syncthreads();

  const int first_query = static_cast<int>(blockIdx.x) * kWgmmaQueries;
  const int warpgroup = static_cast<int>(threadIdx.x) / kWarpgroupThreads;
  if (warpgroup == kWarpgroupsThatMultiply) {
    ptx::registers_decrease<40>();
    if (threadIdx.x % kWarpgroupThreads != 0) return;
    ptx::mbarrier_arrive_expect_tx(own_full, 4 * Tile::kBytes);
    for (int i = 0; i < 2; ++i) {
      Tile::load(dy_tiles + i * Tile::kBytes, &dy, own_full, first_query + i * kWgmmaTokens);
      Tile::load(shared + i * Tile::kBytes, &q, own_full, first_query + i * kWgmmaTokens);
    }
    for (int key = 0; key < tokens; key += kWgmmaTokens)
      for (const TensorMap* const map : {&v, &k}) ring.template load<Tile>(map, key);
    return;
  }

  ptx::registers_increase<232>();
  unsigned char* const q_tile = shared + warpgroup * Tile::kBytes;           // [64][kD]
  const unsigned char* const dy_tile = dy_tiles + warpgroup * Tile::kBytes;  // [64][kD]
  const int own_first = first_query + warpgroup * kWgmmaTokens;
  const int row = static_cast<int>(threadIdx.x) % kWarpgroupThreads / 32 * 16 + threadIdx.x % 32 / 4;
  const RowStatistics head = statistics.of_head(tokens);
  float lse_log2[2], delta[2];
  for (int half = 0; half < 2; ++half) {
    const int query = own_first + row + 8 * half;
    lse_log2[half] = query < tokens ? head.lse[query] * kLog2E : 0.0f;
    delta[half] = query < tokens ? head.delta[query] : 0.0f;
  }
  float sum[kD / 2] = {};  // dq / scale [64][kD]
  ptx::mbarrier_wait(own_full, 0);
  for (int key = 0; key < tokens; key += kWgmmaTokens) {
    float dp[kScores], scores[kScores];  // [64][64]
    const unsigned char* const v_tile = ring.stage(ring.wait());
    ptx::wgmma_fence();
    Tile::multiply_transposed(dp, dy_tile, v_tile);
    ptx::wgmma_commit();
    const unsigned char* const k_tile = ring.stage(ring.wait());
    ptx::wgmma_fence();
    Tile::multiply_transposed(scores, q_tile, k_tile);
    ptx::wgmma_commit();
    ptx::wgmma_wait<1>();
    ring.release();  // v
    ptx::wgmma_wait<0>();
    ptx::wgmma_fence_registers(dp);
    ptx::wgmma_fence_registers(scores);
    to_score_gradients(scores, dp, scale * kLog2E, lse_log2, delta, tokens - key);
    uint32_t ds[kWgmmaTokens / 16][4];
    pack_scores(ds, scores);
    ptx::wgmma_fence();
    Tile::multiply_add(sum, ds, k_tile);
    ptx::wgmma_commit();
    ptx::wgmma_wait<0>();  // dS beside the next tile's S and dP is more registers than there are
    ptx::wgmma_fence_registers(sum);
    ring.release();  // k
  }
  Tile::store(sum, make_float2(scale, scale), q_tile, &dq, own_first);
#endif
}

// ---- dk and dv: 64 keys a block, along the queries ----

template <int kD>
using KeyRing = TokenRing<2 * TokenTile<kD>::kBytes, kWgmmaKeyStages>;  // a stage: q and dy
constexpr int kHandedOverBytes = kWgmmaTokens * kWgmmaTokens * 2;       // P^T in bfloat16
constexpr int kStatisticsFloats = 2 * kWgmmaTokens;                     // of a stage: lse, delta
template <int kD>
constexpr size_t kKeySharedBytes = (2 + 2 * kWgmmaKeyStages) * TokenTile<kD>::kBytes + kHandedOverBytes
                                   + kWgmmaKeyStages* kStatisticsFloats * sizeof(float) +
                                   (1 + KeyRing<kD>::kBarriers) * sizeof(uint64_t);

/// P^T on its way from the first warpgroup to the second: [4][128 threads] chunks of sixteen bytes.
class HandOver {
 public:
  __device__ explicit HandOver(unsigned char* shared)
      : mine_(reinterpret_cast<uint4*>(shared) + threadIdx.x % kWarpgroupThreads) {}
  /// By the first warpgroup, once the second has taken what was there.
  __device__ __forceinline__ void give(const uint32_t (&p)[kWgmmaTokens / 16][4], bool first) const {
    if (!first) ptx::bar_sync(kTaken, kThreads);
#pragma unroll
    for (int k = 0; k < kWgmmaTokens / 16; ++k)
      mine_[k * kWarpgroupThreads] = make_uint4(p[k][0], p[k][1], p[k][2], p[k][3]);
    ptx::bar_arrive(kGiven, kThreads);
  }
  __device__ __forceinline__ void take(uint32_t (&p)[kWgmmaTokens / 16][4], bool last) const {
    ptx::bar_sync(kGiven, kThreads);
#pragma unroll
    for (int k = 0; k < kWgmmaTokens / 16; ++k) {
      const uint4 chunk = mine_[k * kWarpgroupThreads];
      p[k][0] = chunk.x, p[k][1] = chunk.y, p[k][2] = chunk.z, p[k][3] = chunk.w;
    }
    if (!last) ptx::bar_arrive(kTaken, kThreads);
  }

 private:
  static constexpr int kGiven = 3, kTaken = 4;  // named barriers; TokenTile::store has 1 and 2
  static constexpr int kThreads = kWarpgroupsThatMultiply * kWarpgroupThreads;
  uint4* mine_;
};

/// P^T = exp2(scale_log2 scores - lse) of the column's query.
__device__ __forceinline__ void to_probabilities(float (&scores)[kScores], float scale_log2,
                                                 const float* lse_log2) {
#pragma unroll
  for (int j = 0; j < kScores / 4; ++j) {
    const float2 lse = *reinterpret_cast<const float2*>(lse_log2 + 8 * j + threadIdx.x % 4 * 2);
#pragma unroll
    for (int i = 4 * j; i < 4 * j + 4; ++i)
      scores[i] = ptx::exp2_approx(fmaf(scores[i], scale_log2, i % 2 ? -lse.y : -lse.x));
  }
}

/// dS^T = P^T (dP^T - delta of the column's query), in place of dP^T.
__device__ __forceinline__ void to_score_gradients(float (&dp)[kScores],
                                                   const uint32_t (&p)[kWgmmaTokens / 16][4],
                                                   const float* delta) {
#pragma unroll
  for (int j = 0; j < kScores / 4; ++j) {
    const float2 d = *reinterpret_cast<const float2*>(delta + 8 * j + threadIdx.x % 4 * 2);
#pragma unroll
    for (int half = 0; half < 2; ++half) {
      const uint32_t pair = p[j / 2][j % 2 * 2 + half];
      float* const at = dp + 4 * j + 2 * half;
      at[0] = __uint_as_float(pair << 16) * (at[0] - d.x);
      at[1] = __uint_as_float(pair & 0xffff0000u) * (at[1] - d.y);
    }
  }
}

template <int kD>
__global__ void __launch_bounds__(kWgmmaAttentionThreads, 1)
    attention_dkv_wgmma(const __grid_constant__ TensorMap q, const __grid_constant__ TensorMap k,
                        const __grid_constant__ TensorMap v, const __grid_constant__ TensorMap dy,
                        const __grid_constant__ TensorMap dk, const __grid_constant__ TensorMap dv,
                        const RowStatistics statistics, const int tokens, const float scale) {
#if IMAGO_HAS_WGMMA
  using Tile = TokenTile<kD>;
  IMAGO_DYNAMIC_SHARED(shared);
  unsigned char* const ring_data = shared + 2 * Tile::kBytes;  // behind k's tile and v's
  unsigned char* const handed_over = ring_data + kWgmmaKeyStages * 2 * Tile::kBytes;
  float* const columns = reinterpret_cast<float*>(handed_over + kHandedOverBytes);  // [stages][2][64]
  uint64_t* const own_full = reinterpret_cast<uint64_t*>(columns + kWgmmaKeyStages * kStatisticsFloats);
  KeyRing<kD> ring(ring_data, own_full + 1);
  if (threadIdx.x == 0) {
    ptx::mbarrier_init(own_full, 1);
    ring.init(1 + 32);  // the thread that asks for tiles, and each that brings statistics
    ptx::fence_mbarrier_init();
  }
  __syncthreads();

  const int first_key = static_cast<int>(blockIdx.x) * kWgmmaTokens;
  const int warpgroup = static_cast<int>(threadIdx.x) / kWarpgroupThreads;
  if (warpgroup == kWarpgroupsThatMultiply) {
    ptx::registers_decrease<40>();
    const int lane = static_cast<int>(threadIdx.x) % kWarpgroupThreads;
    if (lane >= 32) return;
    if (lane == 0) {
      ptx::mbarrier_arrive_expect_tx(own_full, 2 * Tile::kBytes);
      Tile::load(shared, &k, own_full, first_key);
      Tile::load(shared + Tile::kBytes, &v, own_full, first_key);
    }
    const RowStatistics head = statistics.of_head(tokens);
    for (int query = 0; query < tokens; query += kWgmmaTokens) {
      const int slot = ring.open();
      if (lane == 0) {
        ptx::mbarrier_arrive_expect_tx(ring.full(slot), 2 * Tile::kBytes);
        Tile::load(ring.stage(slot), &q, ring.full(slot), query);
        Tile::load(ring.stage(slot) + Tile::kBytes, &dy, ring.full(slot), query);
      }
      float* const stage = columns + slot * kStatisticsFloats;
      for (int i = lane; i < kWgmmaTokens; i += 32) {
        const bool valid = query + i < tokens;  // behind the last query P is 0
        stage[i] = valid ? head.lse[query + i] * kLog2E : INFINITY;
        stage[kWgmmaTokens + i] = valid ? head.delta[query + i] : 0.0f;
      }
      ptx::mbarrier_arrive(ring.full(slot));
    }
    return;
  }

  ptx::registers_increase<232>();
  const bool makes_dv = warpgroup == 0;
  unsigned char* const own_tile = shared + warpgroup * Tile::kBytes;  // [64][kD] of k for dv, of v for dk
  const HandOver hand_over(handed_over);
  float sum[kD / 2] = {};               // dv, or dk / scale [64][kD]
  uint32_t left[kWgmmaTokens / 16][4];  // P^T, or dS^T
  ptx::mbarrier_wait(own_full, 0);
  for (int query = 0; query < tokens; query += kWgmmaTokens) {
    float scores[kScores];  // [64 keys][64 queries] of S, or of dP
    const int slot = ring.wait();
    const unsigned char* const q_tile = ring.stage(slot);
    const unsigned char* const dy_tile = q_tile + Tile::kBytes;
    ptx::wgmma_fence();
    Tile::multiply_transposed(scores, own_tile, makes_dv ? q_tile : dy_tile);
    ptx::wgmma_commit();
    ptx::wgmma_wait<1>();  // for the product before
    __syncwarp();          // every lane has read its statistics
    if (query > 0) ring.release();
    ptx::wgmma_wait<0>();
    ptx::wgmma_fence_registers(scores);
    ptx::wgmma_fence_registers(sum);
    const float* const statistics_of_columns = columns + slot * kStatisticsFloats + warpgroup * kWgmmaTokens;
    if (makes_dv) {
      to_probabilities(scores, scale * kLog2E, statistics_of_columns);
      pack_scores(left, scores);
      hand_over.give(left, query == 0);
    } else {
      hand_over.take(left, query + kWgmmaTokens >= tokens);
      to_score_gradients(scores, left, statistics_of_columns);
      pack_scores(left, scores);
    }
    ptx::wgmma_fence();
    Tile::multiply_add(sum, left, makes_dv ? dy_tile : q_tile);
    ptx::wgmma_commit();
  }
  ptx::wgmma_wait<0>();
  ptx::wgmma_fence_registers(sum);
  const float factor = makes_dv ? 1.0f : scale;
  Tile::store(sum, make_float2(factor, factor), own_tile, makes_dv ? &dv : &dk, first_key);
#endif
}

}  // namespace

void attention_backward_hopper(const Gpu& gpu, ConstTensorRef dy, ConstTensorRef q, ConstTensorRef k,
                               ConstTensorRef v, ConstTensorRef lse, const float* delta, int heads,
                               float scale, TensorRef dq, TensorRef dk, TensorRef dv) {
  const AttentionShape s(q.shape, heads);
  const RowStatistics statistics{lse.as<float>(), delta};
  const TensorMap map_q = token_map(q.data, s), map_k = token_map(k.data, s), map_v = token_map(v.data, s);
  const TensorMap map_dy = token_map(dy.data, s);
  dispatch_wide_head(s.dim, [&](auto d) {
    constexpr int kD = decltype(d)::value;
    LaunchConfig config{.grid = s.grid(kWgmmaQueries),
                        .block = kWgmmaAttentionThreads,
                        .shared_bytes = kQuerySharedBytes<kD>,
                        .stream = gpu.stream};
    launch(attention_dq_wgmma<kD>, config, map_q, map_k, map_v, map_dy, token_map(dq.data, s), statistics,
           s.tokens, scale);
    config.grid = s.grid(kWgmmaTokens), config.shared_bytes = kKeySharedBytes<kD>;
    launch(attention_dkv_wgmma<kD>, config, map_q, map_k, map_v, map_dy, token_map(dk.data, s),
           token_map(dv.data, s), statistics, s.tokens, scale);
  });
}

}  // namespace imago::IMAGO_CUDA_NAMESPACE
