// cp.async, mbarrier and the plain bulk copies.
#include "tests/lab/cuda_on_cpu/ptx_cases.h"

namespace imago::IMAGO_CUDA_NAMESPACE {
namespace {

Words counting(uint32_t n) {
  Words w(n);
  for (uint32_t i = 0; i < n; ++i) w[i] = 3 * i + 1;
  return w;
}

/// Thread t copies kBytes, of which t % (kBytes + 1) come from memory and the rest are zeros.
template <int kBytes>
__global__ void copy_async_sizes(const uint32_t* in, uint32_t* out) {
  IMAGO_SHARED(unsigned char, tile, [32 * kBytes]);
  unsigned char* mine = tile + kBytes * threadIdx.x;
  const int from_memory = static_cast<int>(threadIdx.x) % (kBytes + 1);
  ptx::cp_async<kBytes>(mine, reinterpret_cast<const unsigned char*>(in) + kBytes * threadIdx.x, from_memory);
  ptx::cp_async_commit();
  ptx::cp_async_wait<0>();
  for (int i = 0; i < kBytes / 4; ++i)
    out[kBytes / 4 * threadIdx.x + i] = reinterpret_cast<const uint32_t*>(mine)[i];
}

template <int kBytes>
PtxCase sizes_case() {
  return {"cp.async of " + std::to_string(kBytes) + " bytes with zero fill", 80,
          [] {
            DeviceArray<uint32_t> in(counting(8 * kBytes)), out(8 * kBytes);
            launch(copy_async_sizes<kBytes>, {.grid = 1, .block = 32}, in.get(), out.get());
            return out.download();
          },
          [] {
            Words w = counting(8 * kBytes);
            auto* bytes = reinterpret_cast<unsigned char*>(w.data());
            for (int t = 0; t < 32; ++t)
              for (int i = t % (kBytes + 1); i < kBytes; ++i) bytes[kBytes * t + i] = 0;
            return w;
          }};
}

/// A ring of three stages over ten chunks: sums up everything in order, so that a chunk read too early or
/// too late shows.
constexpr uint32_t kChunks = 10, kStages = 3;
__global__ void copy_async_ring(const uint32_t* in, uint32_t* out) {  // in [kChunks][64 * 4], out [64]
  IMAGO_SHARED(uint4, ring, [kStages][64]);
  const uint32_t t = threadIdx.x;
  auto load = [&](uint32_t chunk) {
    if (chunk < kChunks) ptx::cp_async(&ring[chunk % kStages][t], in + 4 * (64 * chunk + t));
    ptx::cp_async_commit();
  };
  load(0), load(1);
  uint32_t sum = 0;
  for (uint32_t chunk = 0; chunk < kChunks; ++chunk) {
    ptx::cp_async_wait<kStages - 2>();
    __syncthreads();
    load(chunk + 2);
    const uint4 v = ring[chunk % kStages][63 - t];  // another thread's copy
    sum = sum * 31 + (v.x ^ v.y ^ v.z ^ v.w);
  }
  out[t] = sum;
}

/// The same through mbarriers that cp.async arrives at.
__global__ void copy_async_mbarriers(const uint32_t* in, uint32_t* out) {
#if IMAGO_HAS_TMA
  IMAGO_SHARED(uint4, ring, [kStages][64]);
  IMAGO_SHARED(uint64_t, full, [kStages]);
  const uint32_t t = threadIdx.x;
  if (t == 0)
    for (uint32_t s = 0; s < kStages; ++s) ptx::mbarrier_init(&full[s], 64);
  __syncthreads();
  auto load = [&](uint32_t chunk) {
    if (chunk >= kChunks) return;
    ptx::cp_async(&ring[chunk % kStages][t], in + 4 * (64 * chunk + t));
    ptx::cp_async_mbarrier_arrive(&full[chunk % kStages]);
  };
  load(0), load(1);
  uint32_t sum = 0;
  for (uint32_t chunk = 0; chunk < kChunks; ++chunk) {
    ptx::mbarrier_wait(&full[chunk % kStages], chunk / kStages & 1);
    const uint4 v = ring[chunk % kStages][63 - t];
    sum = sum * 31 + (v.x ^ v.y ^ v.z ^ v.w);
    __syncthreads();
    load(chunk + 2);
  }
  out[t] = sum;
#endif
}

Words ring_expected() {
  const Words in = counting(kChunks * 256);
  Words out(64, 0);
  for (uint32_t t = 0; t < 64; ++t)
    for (uint32_t chunk = 0; chunk < kChunks; ++chunk) {
      const uint32_t* v = &in[4 * (64 * chunk + 63 - t)];
      out[t] = out[t] * 31 + (v[0] ^ v[1] ^ v[2] ^ v[3]);
    }
  return out;
}

PtxCase ring_case(const char* name, int capability, void (*kernel)(const uint32_t*, uint32_t*)) {
  return {name, capability,
          [=] {
            DeviceArray<uint32_t> in(counting(kChunks * 256)), out(64);
            launch(kernel, {.grid = 1, .block = 64}, in.get(), out.get());
            return out.download();
          },
          ring_expected};
}

/// Bulk copies in and out, a warp that produces and one that consumes, phases counted through.
__global__ void bulk_ring(const uint32_t* in, uint32_t* out) {  // [kChunks][256] each
#if IMAGO_HAS_TMA
  IMAGO_SHARED(uint32_t, ring, [2][256]);
  IMAGO_SHARED(uint32_t, result, [2][256]);
  IMAGO_SHARED(uint64_t, full, [2]);
  IMAGO_SHARED(uint64_t, empty, [2]);
  const uint32_t lane = threadIdx.x % 32;
  if (threadIdx.x == 0) {
    for (int s = 0; s < 2; ++s) ptx::mbarrier_init(&full[s], 1), ptx::mbarrier_init(&empty[s], 32);
    ptx::fence_mbarrier_init();
  }
  __syncthreads();
  if (threadIdx.x / 32 == 0) {
    if (ptx::elect_one())
      for (uint32_t c = 0; c < kChunks; ++c) {
        ptx::mbarrier_wait(&empty[c % 2], (c / 2 & 1) ^ 1);
        ptx::mbarrier_arrive_expect_tx(&full[c % 2], 1024);
        ptx::bulk_load(ring[c % 2], in + 256 * c, 1024, &full[c % 2]);
      }
    return;
  }
  for (uint32_t c = 0; c < kChunks; ++c) {
    while (!ptx::mbarrier_try_wait(&full[c % 2], c / 2 & 1)) {
    }
    if (lane == 0) ptx::bulk_wait_read<1>();  // the store of two chunks ago has read its source
    __syncwarp();
    for (uint32_t i = lane; i < 256; i += 32) result[c % 2][i] = ring[c % 2][i] + c;
    ptx::mbarrier_arrive(&empty[c % 2]);
    ptx::fence_proxy_async();
    __syncwarp();
    if (lane == 0) {
      ptx::bulk_store(out + 256 * c, result[c % 2], 1024);
      ptx::bulk_commit();
    }
  }
  if (lane == 0) ptx::bulk_wait<0>();
#endif
}

}  // namespace

std::vector<PtxCase> copy_cases() {
  return {sizes_case<4>(),
          sizes_case<8>(),
          sizes_case<16>(),
          ring_case("cp.async ring", 80, copy_async_ring),
          ring_case("cp.async.mbarrier.arrive", 90, copy_async_mbarriers),
          {"bulk copies and mbarrier phases", 90,
           [] {
             DeviceArray<uint32_t> in(counting(kChunks * 256)), out(kChunks * 256);
             launch(bulk_ring, {.grid = 1, .block = 64}, in.get(), out.get());
             return out.download();
           },
           [] {
             Words w = counting(kChunks * 256);
             for (uint32_t i = 0; i < w.size(); ++i) w[i] += i / 256;
             return w;
           }}};
}

}  // namespace imago::IMAGO_CUDA_NAMESPACE
