// What attention's kernels on Hopper's own instructions share: tiles of tokens as TMA brings and takes them,
// the ring through which they come, and their products.
//
// A block is two warpgroups that multiply and one that loads. A warpgroup multiplies 64 tokens of its own by
// tiles of 64 others. A tile serves both kinds of products as it lies: rows of scores want it along the
// channels (K-major), sums over tokens across them (MN-major). Scores, exponentiated, are the left operand of
// the second kind without leaving their registers.
#pragma once

#include "kernels/cuda/attention/attention_simple.h"
#include "kernels/cuda/device/ptx.h"
#include "kernels/cuda/device/ring_position.h"
#include "kernels/cuda/device/vec.h"

namespace imago::IMAGO_CUDA_NAMESPACE {

constexpr int kWarpgroupThreads = 128, kWarpgroupsThatMultiply = 2;
constexpr int kScores = kWgmmaTokens / 2;  // of a thread: 64 x 64 among 128

/// A tensor [N,T,heads*D] as TMA sees it, in boxes of 64 channels of one head by 64 tokens. Behind the last
/// channel and the last token are zeros, and nothing is written there.
inline TensorMap token_map(const void* data, const AttentionShape& s) {
  TensorMapSpec spec;
  spec.rank = 4;
  spec.extents[0] = static_cast<uint64_t>(s.dim), spec.extents[1] = static_cast<uint64_t>(s.heads);
  spec.extents[2] = static_cast<uint64_t>(s.tokens), spec.extents[3] = static_cast<uint64_t>(s.images);
  spec.box[0] = 64, spec.box[1] = 1, spec.box[2] = kWgmmaTokens, spec.box[3] = 1;
  return make_tensor_map(data, spec);
}

/// 64 tokens of the block's head, D padded with zeros to kD: kD / 64 boxes [64 tokens][64 channels], the
/// sixteen-byte chunks of a row swizzled by its number.
template <int kD>
struct TokenTile {
  static constexpr int kRowBytes = 128, kBoxBytes = kWgmmaTokens * kRowBytes;
  static constexpr int kBytes = kD / 64 * kBoxBytes;

  /// Asks for tokens first_token .. + 64; `barrier` has been promised kBytes.
  static __device__ __forceinline__ void load(unsigned char* tile, const TensorMap* map, uint64_t* barrier,
                                              int first_token) {
    const int head = static_cast<int>(blockIdx.y), image = static_cast<int>(blockIdx.z);
    for (int box = 0; box < kD / 64; ++box)
      ptx::tma_load<4>(tile + box * kBoxBytes, map, barrier, {64 * box, head, first_token, image});
  }

  /// A warpgroup's results, rows times factor.x (lane / 4) or factor.y (lane / 4 + 8), to memory in bfloat16
  /// by way of a tile that nobody else uses any more.
  static __device__ __forceinline__ void store(const float (&sum)[kD / 2], float2 factor, unsigned char* tile,
                                               const TensorMap* map, int first_token) {
    const int thread = static_cast<int>(threadIdx.x) % kWarpgroupThreads, lane = thread % 32;
    const int row = thread / 32 * 16 + lane % 16;  // that this lane gives stmatrix
#pragma unroll
    for (int i = 0; i < kD / 16; ++i) {
      const float* const s = sum + 8 * i;
      const uint32_t pairs[4] = {
          pack2(s[0] * factor.x, s[1] * factor.x), pack2(s[2] * factor.y, s[3] * factor.y),
          pack2(s[4] * factor.x, s[5] * factor.x), pack2(s[6] * factor.y, s[7] * factor.y)};
      const int chunk = 2 * i + lane / 16;
      ptx::stmatrix_x4(tile + chunk / 8 * kBoxBytes + row * kRowBytes + ((chunk ^ row) & 7) * 16, pairs);
    }
    ptx::fence_proxy_async();
    ptx::bar_sync(1 + static_cast<int>(threadIdx.x) / kWarpgroupThreads, kWarpgroupThreads);
    if (thread != 0) return;
    const int head = static_cast<int>(blockIdx.y), image = static_cast<int>(blockIdx.z);
    for (int box = 0; box < kD / 64; ++box)
      ptx::tma_store<4>(map, tile + box * kBoxBytes, {64 * box, head, first_token, image});
    ptx::bulk_commit();
    ptx::bulk_wait_read<0>();  // the block's shared memory ends with the block
  }

  /// Starts scores [64 x 64] = tokens of `a` by tokens of `b`, over all channels.
  static __device__ __forceinline__ void multiply_transposed(float (&scores)[kScores], const unsigned char* a,
                                                             const unsigned char* b) {
    const uint64_t left = ptx::wgmma_k_major(a), right = ptx::wgmma_k_major(b);
#pragma unroll
    for (int k = 0; k < kD / 16; ++k) {
      const uint32_t at = static_cast<uint32_t>(k / 4 * kBoxBytes + k % 4 * 32);
      ptx::wgmma(scores, ptx::wgmma_advance(left, at), ptx::wgmma_advance(right, at), k > 0);
    }
  }

  /// Starts sum [64 x kD] += p [64 x 64] times the tokens of `b`.
  static __device__ __forceinline__ void multiply_add(float (&sum)[kD / 2],
                                                      const uint32_t (&p)[kWgmmaTokens / 16][4],
                                                      const unsigned char* b) {
    const uint64_t right = ptx::wgmma_mn_major(b, kBoxBytes);
#pragma unroll
    for (int k = 0; k < kWgmmaTokens / 16; ++k)
      ptx::wgmma<1>(sum, p[k], ptx::wgmma_advance(right, static_cast<uint32_t>(16 * kRowBytes * k)));
  }
};

/// Scores, as accumulators, to left operands of multiply_add.
__device__ __forceinline__ void pack_scores(uint32_t (&p)[kWgmmaTokens / 16][4],
                                            const float (&scores)[kScores]) {
#pragma unroll
  for (int k = 0; k < kWgmmaTokens / 16; ++k)
#pragma unroll
    for (int q = 0; q < 4; ++q) p[k][q] = pack2(scores[8 * k + 2 * q], scores[8 * k + 2 * q + 1]);
}

/// Stages between the warpgroup that loads and the warpgroups that multiply. Each side keeps its own copy,
/// and with it where it stands.
template <int kStageBytes, int kStages>
class TokenRing {
 public:
  static constexpr int kBarriers = 2 * kStages;

  __device__ TokenRing(unsigned char* data, uint64_t* barriers)
      : data_(data), full_(barriers), empty_(barriers + kStages) {}
  /// By one thread, before a fence: `arrivals` and the bytes that they announce fill a stage.
  __device__ __forceinline__ void init(unsigned arrivals) const {
    for (int i = 0; i < kStages; ++i) {
      ptx::mbarrier_init(full_ + i, arrivals);
      ptx::mbarrier_init(empty_ + i, kWarpgroupsThatMultiply * kWarpgroupThreads / 32);
    }
  }
  __device__ __forceinline__ unsigned char* stage(int slot) const { return data_ + slot * kStageBytes; }
  __device__ __forceinline__ uint64_t* full(int slot) const { return full_ + slot; }

  /// The loading side: the next stage, once it is free.
  __device__ __forceinline__ int open() {
    const RingPosition p = at_;
    ptx::mbarrier_wait(empty_ + p.slot, p.lap ^ 1);
    at_.advance(kStages);
    return p.slot;
  }
  /// ... and a tile into it, which is all that the stage holds. By one thread.
  template <class Tile>
  __device__ __forceinline__ void load(const TensorMap* map, int first_token) {
    const int slot = open();
    ptx::mbarrier_arrive_expect_tx(full_ + slot, Tile::kBytes);
    Tile::load(stage(slot), map, full_ + slot, first_token);
  }
  /// The multiplying side: the next stage, once it has come.
  __device__ __forceinline__ int wait() {
    const RingPosition p = at_;
    ptx::mbarrier_wait(full_ + p.slot, p.lap);
    at_.advance(kStages);
    return p.slot;
  }
  /// ... and gives back the one that it has had for longest; once for each.
  __device__ __forceinline__ void release() {
    if (threadIdx.x % 32 == 0) ptx::mbarrier_arrive(empty_ + released_.slot);
    released_.advance(kStages);
  }

 private:
  unsigned char* data_;
  uint64_t *full_, *empty_;
  RingPosition at_, released_;
};

}  // namespace imago::IMAGO_CUDA_NAMESPACE
