// What the Hopper kernels are built of, in one piece each: a persistent pipeline of TMA, mbarriers and wgmma
// whose ring goes round several times and across tiles; setmaxnreg with more registers in use than the launch
// gave; and wgmma on blocks of columns that overlap, as one box of an image serves three taps of a filter.
#include "tests/lab/cuda_on_cpu/ptx_cases.h"

namespace imago::IMAGO_CUDA_NAMESPACE {
namespace {

// ---- a persistent pipeline ----
constexpr int kTiles = 5, kSteps = 7, kRingStages = 3, kBlocks = 2;
constexpr int kTileRows = 128, kTileColumns = 64, kStep = 64;  // of C, and of K
constexpr int kDepthOfAll = kSteps * kStep;
constexpr int kABytes = kTileRows * 128, kBBytes = kTileColumns * 128, kStageBytes = kABytes + kBBytes;

/// c [kTiles * 128, 64] = a [kTiles * 128, kDepthOfAll] b [64, kDepthOfAll]^T. Warpgroup 0 loads, 1 and 2
/// multiply. Blocks take every second tile, and 7 steps in a ring of 3: the parity of a stage is never that
/// of the tile.
__global__ void __launch_bounds__(384, 1)
    pipeline([[maybe_unused]] const __grid_constant__ TensorMap map_a,
             [[maybe_unused]] const __grid_constant__ TensorMap map_b, [[maybe_unused]] float* c) {
#if IMAGO_HAS_WGMMA
  IMAGO_DYNAMIC_SHARED(ring);
  uint64_t* const full = reinterpret_cast<uint64_t*>(ring + kRingStages * kStageBytes);
  uint64_t* const empty = full + kRingStages;
  if (threadIdx.x == 0) {
    for (int s = 0; s < kRingStages; ++s) ptx::mbarrier_init(full + s, 1), ptx::mbarrier_init(empty + s, 8);
    ptx::fence_mbarrier_init();
  }
  __syncthreads();
  const int warpgroup = static_cast<int>(threadIdx.x) / 128;
  int step = 0;  // of all tiles of this block
  if (warpgroup == 0) {
    ptx::registers_decrease<40>();
    if (threadIdx.x != 0) return;
    for (int tile = static_cast<int>(blockIdx.x); tile < kTiles; tile += kBlocks)
      for (int k = 0; k < kSteps; ++k, ++step) {
        const int s = step % kRingStages;
        unsigned char* const stage = ring + s * kStageBytes;
        ptx::mbarrier_wait(empty + s, (step / kRingStages + 1) & 1);
        ptx::mbarrier_arrive_expect_tx(full + s, kStageBytes);
        ptx::tma_load<2>(stage, &map_a, full + s, {k * kStep, tile * kTileRows});
        ptx::tma_load<2>(stage + kABytes, &map_b, full + s, {k * kStep, 0});
      }
    return;
  }
  ptx::registers_increase<232>();
  const int warp = static_cast<int>(threadIdx.x) % 128 / 32, lane = static_cast<int>(threadIdx.x) % 32;
  for (int tile = static_cast<int>(blockIdx.x); tile < kTiles; tile += kBlocks) {
    float sum[kTileColumns / 2] = {};
    uint64_t* to_free = nullptr;
    for (int k = 0; k < kSteps; ++k, ++step) {
      const int s = step % kRingStages;
      const unsigned char* const stage = ring + s * kStageBytes;
      ptx::mbarrier_wait(full + s, step / kRingStages & 1);
      ptx::wgmma_fence();
#pragma unroll
      for (int kk = 0; kk < kStep / 16; ++kk)
        ptx::wgmma(sum, ptx::wgmma_advance(ptx::wgmma_k_major(stage + (warpgroup - 1) * 64 * 128), 32 * kk),
                   ptx::wgmma_advance(ptx::wgmma_k_major(stage + kABytes), 32 * kk));
      ptx::wgmma_commit();
      ptx::wgmma_wait<1>();
      if (lane == 0 && to_free) ptx::mbarrier_arrive(to_free);
      to_free = empty + s;
    }
    ptx::wgmma_wait<0>();
    ptx::wgmma_fence_registers(sum);
    if (lane == 0) ptx::mbarrier_arrive(to_free);
#pragma unroll
    for (int r = 0; r < kTileColumns / 2; ++r) {
      const int row = (warpgroup - 1) * 64 + 16 * warp + lane / 4 + 8 * (r / 2 % 2);
      c[(tile * kTileRows + row) * kTileColumns + 8 * (r / 4) + 2 * (lane % 4) + r % 2] = sum[r];
    }
  }
#endif
}

TensorMap rows_map(const void* p, int rows, int box_rows) {
  return make_tensor_map(p, {.rank = 2,
                             .element_bytes = 2,
                             .extents = {kDepthOfAll, static_cast<uint64_t>(rows)},
                             .box = {kStep, static_cast<uint32_t>(box_rows)},
                             .swizzle = TensorMapSwizzle::k128B});
}

PtxCase pipeline_case() {
  constexpr int kRows = kTiles * kTileRows;
  const auto a = small_integers(kRows * kDepthOfAll, 21), b = small_integers(kTileColumns * kDepthOfAll, 22);
  return {
      "persistent pipeline, ring of several laps", 91,
      [=] {
        DeviceArray<__nv_bfloat16> da(to_bfloat16(a)), db(to_bfloat16(b));
        DeviceArray<float> c(kRows * kTileColumns);
        launch(pipeline, {.grid = kBlocks, .block = 384, .shared_bytes = kRingStages * (kStageBytes + 16)},
               rows_map(da.get(), kRows, kTileRows), rows_map(db.get(), kTileColumns, kTileColumns), c.get());
        return words_of(c.download());
      },
      [=] {
        std::vector<float> c(kRows * kTileColumns);
        for (int m = 0; m < kRows; ++m)
          for (int n = 0; n < kTileColumns; ++n) {
            float sum = 0;
            for (int k = 0; k < kDepthOfAll; ++k) sum += a[m * kDepthOfAll + k] * b[n * kDepthOfAll + k];
            c[m * kTileColumns + n] = sum;
          }
        return words_of(c);
      }};
}

// ---- setmaxnreg ----
constexpr int kHeld =
    192;  // numbers that a thread holds in registers: more than the 168 that a launch gives it

/// Warpgroups 1 and 2 take what warpgroup 0 gives back. All numbers stay alive through the exchange of lanes.
__global__ void __launch_bounds__(384, 1)
    many_registers([[maybe_unused]] const uint32_t* in, [[maybe_unused]] uint32_t* out) {
#if IMAGO_HAS_WGMMA
  if (threadIdx.x < 128) {
    ptx::registers_decrease<40>();
    return;
  }
  ptx::registers_increase<232>();
  const uint32_t thread = threadIdx.x - 128, seed = in[thread];
  uint32_t held[kHeld];
#pragma unroll
  for (uint32_t i = 0; i < kHeld; ++i) held[i] = seed * (2 * i + 1) + i;
  for (int round = 0; round < 3; ++round)
#pragma unroll
    for (int i = 0; i < kHeld; ++i) held[i] += __shfl_xor_sync(~0u, held[(i + 101) % kHeld], 1 << round);
  uint32_t hash = 0;
#pragma unroll
  for (int i = 0; i < kHeld; ++i) hash = hash * 31 + held[i];
  out[thread] = hash;
#endif
}

PtxCase registers_case() {
  Words in(256);
  for (uint32_t i = 0; i < 256; ++i) in[i] = i * 2654435761u;
  return {"setmaxnreg, 192 numbers held", 91,
          [=] {
            DeviceArray<uint32_t> from(in), out(256);
            launch(many_registers, {.grid = 1, .block = 384}, from.get(), out.get());
            return out.download();
          },
          [=] {
            std::vector<Words> held(256, Words(kHeld));
            for (uint32_t t = 0; t < 256; ++t)
              for (uint32_t i = 0; i < kHeld; ++i) held[t][i] = in[t] * (2 * i + 1) + i;
            for (int round = 0; round < 3; ++round)
              for (uint32_t i = 0; i < kHeld; ++i) {
                Words given(256);
                for (uint32_t t = 0; t < 256; ++t) given[t] = held[t ^ (1u << round)][(i + 101) % kHeld];
                for (uint32_t t = 0; t < 256; ++t) held[t][i] += given[t];
              }
            Words out(256, 0);
            for (uint32_t t = 0; t < 256; ++t)
              for (uint32_t v : held[t]) out[t] = out[t] * 31 + v;
            return out;
          }};
}

// ---- blocks of columns that overlap ----
constexpr int kPixels = 64, kTaps = 3, kChannels = 64;

/// d [64 outputs, 3 taps x 64 channels] = sum over pixels q of dy [q, output] x [q + tap * kRow, channel]:
/// both operands MN-major, and from one tap's columns to the next it is one row of kRow pixels.
template <int kRow>
__global__ void __launch_bounds__(128)
    overlapping_taps([[maybe_unused]] const __nv_bfloat16* dy, [[maybe_unused]] const __nv_bfloat16* x,
                     [[maybe_unused]] float* d) {
#if IMAGO_HAS_WGMMA
  IMAGO_DYNAMIC_SHARED(shared_dy);
  unsigned char* const shared_x = shared_dy + kPixels * 128;
  const auto fill = [](unsigned char* to, const __nv_bfloat16* from, int pixels) {
    for (int i = static_cast<int>(threadIdx.x); i < pixels * kChannels; i += 128) {
      const int q = i / kChannels, c = i % kChannels;
      *reinterpret_cast<__nv_bfloat16*>(to + q * 128 + ((c / 8) ^ (q % 8)) * 16 + c % 8 * 2) = from[i];
    }
  };
  fill(shared_dy, dy, kPixels);
  fill(shared_x, x, kPixels + (kTaps - 1) * kRow);
  ptx::fence_proxy_async();
  __syncthreads();
  float sum[kTaps * kChannels / 2] = {};
  ptx::wgmma_fence();
#pragma unroll
  for (int q = 0; q < kPixels; q += 16)
    ptx::wgmma<1, 1>(sum, ptx::wgmma_mn_major(shared_dy + q * 128, 128),
                     ptx::wgmma_mn_major(shared_x + q * 128, kRow * 128));
  ptx::wgmma_commit();
  ptx::wgmma_wait<0>();
  ptx::wgmma_fence_registers(sum);
  const int warp = static_cast<int>(threadIdx.x) / 32, lane = static_cast<int>(threadIdx.x) % 32;
#pragma unroll
  for (int r = 0; r < kTaps * kChannels / 2; ++r)
    d[(16 * warp + lane / 4 + 8 * (r / 2 % 2)) * kTaps * kChannels + 8 * (r / 4) + 2 * (lane % 4) + r % 2] =
        sum[r];
#endif
}

template <int kRow>
PtxCase taps_case() {
  constexpr int kXPixels = kPixels + (kTaps - 1) * kRow;
  const auto dy = small_integers(kPixels * kChannels, 23), x = small_integers(kXPixels * kChannels, 24);
  return {"wgmma n192 both MN-major, columns overlap by rows of " + std::to_string(kRow), 91,
          [=] {
            DeviceArray<__nv_bfloat16> ddy(to_bfloat16(dy)), dx(to_bfloat16(x));
            DeviceArray<float> d(kChannels * kTaps * kChannels);
            launch(overlapping_taps<kRow>,
                   {.grid = 1, .block = 128, .shared_bytes = static_cast<size_t>(kPixels + kXPixels) * 128},
                   ddy.get(), dx.get(), d.get());
            return words_of(d.download());
          },
          [=] {
            std::vector<float> d(kChannels * kTaps * kChannels);
            for (int k = 0; k < kChannels; ++k)
              for (int n = 0; n < kTaps * kChannels; ++n)
                for (int q = 0; q < kPixels; ++q)
                  d[k * kTaps * kChannels + n] +=
                      dy[q * kChannels + k] * x[(q + n / kChannels * kRow) * kChannels + n % kChannels];
            return words_of(d);
          }};
}

}  // namespace

std::vector<PtxCase> pipeline_cases() {
  return {taps_case<8>(), taps_case<16>(), taps_case<32>(), registers_case(), pipeline_case()};
}

}  // namespace imago::IMAGO_CUDA_NAMESPACE
