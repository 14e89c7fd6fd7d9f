// Kernels with one bug each, and the same kernels without it. A program of its own, so that each run can end
// as badly as it should:
//   planted_bugs NAME [fixed]
// Exit 0: results are right. Exit 3: results are wrong ("wrong result"). Anything else: the emulator or
// a sanitizer spoke.
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <string>

#include "tests/lab/cuda_on_cpu/ptx_cases.h"

namespace imago::IMAGO_CUDA_NAMESPACE {
namespace {

using bf16 = __nv_bfloat16;

// ---- barriers and shared memory ----
__global__ void reverse(const float* x, float* y,
                        bool bug) {  // [128]: y = x backwards, through shared memory
  IMAGO_SHARED(float, tile, [128]);
  tile[threadIdx.x] = x[threadIdx.x];
  if (!bug) __syncthreads();
  y[threadIdx.x] = tile[127 - threadIdx.x];
}

__global__ void reverse_in_warp(const float* x, float* y, bool bug) {
  IMAGO_SHARED(float, tile, [128]);
  tile[threadIdx.x] = x[threadIdx.x];
  if (!bug) __syncwarp();
  y[threadIdx.x] = tile[threadIdx.x ^ 31];
}

__global__ void second_barrier(const float* x, float* y,
                               bool bug) {  // the tile is refilled while others still read it
  IMAGO_SHARED(float, tile, [128]);
  float sum = 0;
  for (int i = 0; i < 4; ++i) {
    tile[threadIdx.x] = x[threadIdx.x] + static_cast<float>(i);
    __syncthreads();
    sum += tile[127 - threadIdx.x] - static_cast<float>(i);
    if (!bug) __syncthreads();
  }
  y[threadIdx.x] = sum / 4;
}

__global__ void divergent_barrier(const float* x, float* y, bool bug) {
  IMAGO_SHARED(float, tile, [128]);
  tile[threadIdx.x] = x[threadIdx.x];
  if (!bug || threadIdx.x < 96) __syncthreads();
  y[threadIdx.x] = tile[127 - threadIdx.x];
}

__global__ void two_barriers(const float* x, float* y,
                             bool bug) {  // both halves wait, but in different places
  IMAGO_SHARED(float, tile, [128]);
  tile[threadIdx.x] = x[threadIdx.x];
  if (bug && threadIdx.x < 64) {
    __syncthreads();
  } else {
    __syncthreads();
  }
  y[threadIdx.x] = tile[127 - threadIdx.x];
}

__global__ void mixed_collectives(const float* x, float* y, bool bug) {
  float v = x[threadIdx.x];
  if (bug && threadIdx.x % 2)
    v = __shfl_xor_sync(~0u, v, 31);
  else
    v = __shfl_sync(~0u, v, static_cast<int>(threadIdx.x % 32) ^ 31);
  y[threadIdx.x] = v;
}

__global__ void out_of_bounds_store(const float* x, float* y, bool bug) {
  y[(threadIdx.x ^ 31) + (bug && threadIdx.x == 96 ? 1 : 0)] = x[threadIdx.x];
}

__global__ void out_of_bounds_shared(const float* x, float* y, bool bug) {
  IMAGO_SHARED(float, tile, [128]);
  IMAGO_SHARED(float, other, [32]);
  if (threadIdx.x < 32) other[threadIdx.x] = 1;
  tile[threadIdx.x ^ 31] = x[threadIdx.x];
  if (bug && threadIdx.x == 5) tile[128] = 7;
  __syncthreads();
  y[threadIdx.x] = tile[threadIdx.x] * other[threadIdx.x % 32];
}

__global__ void misaligned_row(const float* x, float* y, bool bug) {  // ldmatrix off by one element
  IMAGO_SHARED(uint16_t, tile, [32][16]);
  for (unsigned i = threadIdx.x; i < 512; i += 128) tile[i / 16][i % 16] = 0;
  __syncthreads();
  uint32_t r[4];
  ptx::ldmatrix_x4(r, tile[threadIdx.x % 32] + (bug ? 1 : 0));
  y[threadIdx.x] = x[threadIdx.x ^ 31] + static_cast<float>(r[0] + r[1] + r[2] + r[3]);
}

__global__ void misaligned_vector(const float* x, float* y, bool bug) {
  if (threadIdx.x % 4) return;
  const float4 v = *reinterpret_cast<const float4*>(x + (threadIdx.x ^ 28) + (bug ? 1 : 0));
  y[threadIdx.x] = v.w, y[threadIdx.x + 1] = v.z, y[threadIdx.x + 2] = v.y, y[threadIdx.x + 3] = v.x;
}

__global__ void race_between_blocks(const float* x, float* y, bool bug) {  // 8 blocks of 128 add up 1/8 each
  float* p = &y[threadIdx.x ^ 31];
  if (blockIdx.x == 0) atomicAdd(p, 0.0f);
  if (bug)
    *p += x[threadIdx.x] / 8;
  else
    atomicAdd(p, x[threadIdx.x] / 8);
}

// ---- cp.async ----
__global__ void copy_ring(const float* x, float* y,
                          bool bug) {  // 8 chunks of 16 floats; waits one group too few
  IMAGO_SHARED(float4, ring, [3][4]);
  const unsigned t = threadIdx.x;
  auto load = [&](int chunk) {
    if (chunk < 8 && t < 4) ptx::cp_async(&ring[chunk % 3][t], x + 16 * chunk + 4 * t);
    ptx::cp_async_commit();
  };
  load(0), load(1);
  for (int chunk = 0; chunk < 8; ++chunk) {
    if (bug)
      ptx::cp_async_wait<2>();
    else
      ptx::cp_async_wait<1>();
    __syncthreads();
    load(chunk + 2);
    if (t < 16) y[(16 * chunk + t) ^ 31] = reinterpret_cast<const float*>(ring[chunk % 3])[t];
  }
}

__global__ void copies_in_order(const float* x, float* y,
                                bool bug) {  // two to the same place, the second to stay
  IMAGO_SHARED(float4, tile, [32]);
  const unsigned t = threadIdx.x;
  if (t < 32) {
    ptx::cp_async(&tile[t], x);
    ptx::cp_async_commit();
    if (!bug) ptx::cp_async_wait<0>();
    ptx::cp_async(&tile[t], x + 4 * t);
    ptx::cp_async_commit();
    ptx::cp_async_wait<0>();
  }
  __syncthreads();
  y[t ^ 31] = reinterpret_cast<const float*>(tile)[t];
}

// ---- bulk copies ----
/// Eight times two copies, and a wait for the later one alone.
__global__ void other_barrier(const float* x, float* y, bool bug) {
#if IMAGO_HAS_TMA
  IMAGO_SHARED(float, tile, [2][64]);
  IMAGO_SHARED(uint64_t, full, [2]);
  const unsigned t = threadIdx.x;
  if (t == 0) {
    for (int i = 0; i < 2; ++i) ptx::mbarrier_init(&full[i], 1);
    ptx::fence_mbarrier_init();
  }
  float sum = 0;
  for (unsigned round = 0; round < 8; ++round) {
    __syncthreads();
    if (t == 0)
      for (int i = 0; i < 2; ++i) {
        ptx::mbarrier_arrive_expect_tx(&full[i], 256);
        ptx::bulk_load(tile[i], x + 64 * i, 256, &full[i]);
      }
    if (!bug) ptx::mbarrier_wait(&full[0], round & 1);
    ptx::mbarrier_wait(&full[1], round & 1);
    sum += tile[t / 64][t % 64];
  }
  y[t ^ 31] = sum / 8;
#endif
}

/// Warp 0 loads 8 chunks into a ring of 2; warp 1 reads them, and one of its lanes gives the slots back.
__global__ void slot_of_a_warp(const float* x, float* y, bool bug) {
#if IMAGO_HAS_TMA
  IMAGO_SHARED(float, ring, [2][32]);
  IMAGO_SHARED(uint64_t, full, [2]);
  IMAGO_SHARED(uint64_t, empty, [2]);
  const unsigned t = threadIdx.x, lane = t % 32;
  if (t == 0) {
    for (int i = 0; i < 2; ++i) ptx::mbarrier_init(&full[i], 1), ptx::mbarrier_init(&empty[i], 1);
    ptx::fence_mbarrier_init();
  }
  __syncthreads();
  if (t == 0)
    for (int c = 0; c < 8; ++c) {
      ptx::mbarrier_wait(&empty[c % 2], (c / 2 + 1) & 1);
      ptx::mbarrier_arrive_expect_tx(&full[c % 2], 128);
      ptx::bulk_load(ring[c % 2], x + 32 * (c % 4), 128, &full[c % 2]);
    }
  if (t / 32 != 1) return;
  for (unsigned c = 0; c < 8; ++c) {
    ptx::mbarrier_wait(&full[c % 2], c / 2 & 1);
    y[32 * (c % 4) + (lane ^ 31)] = ring[c % 2][lane];
    if (!bug) __syncwarp();
    if (lane == 0) ptx::mbarrier_arrive(&empty[c % 2]);
  }
#endif
}

// ---- TMA, mbarrier and wgmma in a ring ----
// C [64, 64] = A B^T over K = 512: one producing warp, one consuming warpgroup.
enum RingBug {
  kNone,
  kEarlyRelease,
  kWrongParity,
  kNoWgmmaFence,
  kNoMbarrierFence,
  kTooFewBytes,
  kOverwrittenBarrier
};
constexpr int kStages = 3, kChunks = 8;  // wraps the ring twice and a bit

__global__ void __launch_bounds__(256, 1)
    tensor_ring(const __grid_constant__ TensorMap ta, const __grid_constant__ TensorMap tb, float* c,
                RingBug bug) {
#if IMAGO_HAS_WGMMA
  IMAGO_DYNAMIC_SHARED(raw);
  IMAGO_SHARED(uint64_t, full, [kStages]);
  IMAGO_SHARED(uint64_t, empty, [kStages]);
  auto a = [&](int s) { return raw + s * 8192; };
  auto b = [&](int s) { return raw + (kStages + s) * 8192; };
  if (threadIdx.x == 0) {
    for (int s = 0; s < kStages; ++s) ptx::mbarrier_init(&full[s], 1), ptx::mbarrier_init(&empty[s], 4);
    if (bug != kNoMbarrierFence) ptx::fence_mbarrier_init();
    if (bug == kOverwrittenBarrier) full[1] = 0;
  }
  __syncthreads();
  if (threadIdx.x >= 128) {
    if (threadIdx.x == 128)
      for (int k = 0; k < kChunks; ++k) {
        const int s = k % kStages;
        ptx::mbarrier_wait(&empty[s], (k / kStages & 1) ^ (bug == kWrongParity ? 0 : 1));
        ptx::mbarrier_arrive_expect_tx(&full[s], bug == kTooFewBytes ? 8192 : 16384);
        ptx::tma_load(a(s), &ta, &full[s], {64 * k, 0});
        ptx::tma_load(b(s), &tb, &full[s], {64 * k, 0});
      }
    return;
  }
  float d[32] = {};
  const int lane = static_cast<int>(threadIdx.x) % 32, warp = static_cast<int>(threadIdx.x) / 32;
  for (int k = 0; k < kChunks; ++k) {  // one group stays in flight: the stage before this one is free
    const int s = k % kStages;
    ptx::mbarrier_wait(&full[s], k / kStages & 1);
    if (bug != kNoWgmmaFence) ptx::wgmma_fence();
    for (int kk = 0; kk < 4; ++kk)
      ptx::wgmma(d, ptx::wgmma_advance(ptx::wgmma_k_major(a(s)), 32 * kk),
                 ptx::wgmma_advance(ptx::wgmma_k_major(b(s)), 32 * kk));
    ptx::wgmma_commit();
    ptx::wgmma_wait<1>();
    if (bug == kEarlyRelease) {
      if (lane == 0) ptx::mbarrier_arrive(&empty[s]);
    } else if (k > 0 && lane == 0) {
      ptx::mbarrier_arrive(&empty[(k - 1) % kStages]);
    }
  }
  ptx::wgmma_wait<0>();
  for (int r = 0; r < 32; ++r)
    c[(16 * warp + lane / 4 + 8 * (r / 2 % 2)) * 64 + 8 * (r / 4) + 2 * (lane % 4) + r % 2] = d[r];
#endif
}

bool run_tensor_ring(RingBug bug) {
  const auto a = small_integers(64 * 512, 1), b = small_integers(64 * 512, 2);
  DeviceArray<bf16> da(to_bfloat16(a)), db(to_bfloat16(b));
  DeviceArray<float> dc(64 * 64);
  const TensorMapSpec spec{.rank = 2, .extents = {512, 64}, .box = {64, 64}};
  launch(tensor_ring, {.grid = 1, .block = 256, .shared_bytes = 2 * kStages * 8192},
         make_tensor_map(da.get(), spec), make_tensor_map(db.get(), spec), dc.get(), bug);
  const auto c = dc.download();
  for (int i = 0; i < 64; ++i)
    for (int j = 0; j < 64; ++j) {
      float sum = 0;
      for (int k = 0; k < 512; ++k) sum += a[i * 512 + k] * b[j * 512 + k];
      if (c[i * 64 + j] != sum) return false;
    }
  return true;
}

// ---- proxy fences ----
__global__ void store_without_fence(const __grid_constant__ TensorMap map, const float* x, bool bug,
                                    bool early_reuse) {
#if IMAGO_HAS_TMA
  IMAGO_SHARED(float, tile, [128]);
  tile[threadIdx.x ^ 31] = x[threadIdx.x];
  if (!bug) ptx::fence_proxy_async();
  __syncthreads();
  if (threadIdx.x == 0) {
    ptx::tma_store(&map, tile, {0});
    ptx::bulk_commit();
    if (early_reuse) tile[3] = 0;
    ptx::bulk_wait<0>();
  }
#endif
}

__global__ void product_without_fence(float* y, bool bug) {  // 64 x 32 x 16 of ones: 16 everywhere
#if IMAGO_HAS_WGMMA
  IMAGO_DYNAMIC_SHARED(raw);
  for (unsigned i = threadIdx.x; i < (64 + 32) * 64; i += 128)
    reinterpret_cast<bf16*>(raw)[i] = __float2bfloat16(1.0f);
  if (!bug) ptx::fence_proxy_async();
  __syncthreads();
  float d[16] = {};
  ptx::wgmma_fence();
  ptx::wgmma(d, ptx::wgmma_k_major(raw), ptx::wgmma_k_major(raw + 8192));
  ptx::wgmma_commit();
  ptx::wgmma_wait<0>();
  float sum = 0;
  for (float v : d) sum += v;
  y[threadIdx.x] = sum / 256;
#endif
}

// ---- the host's ----
__global__ void add_one(float* x) {
  x[threadIdx.x] += 1;
}

bool run_streams(bool bug) {  // a copy to pinned memory that nobody waits for
  float* host = nullptr;
  checked(cudaMallocHost(&host, 512), "pinned memory");
  DeviceArray<float> x(std::vector<float>(128, 1.0f));
  cudaStream_t s;
  checked(cudaStreamCreateWithFlags(&s, cudaStreamNonBlocking), "a stream");
  launch(add_one, {.grid = 1, .block = 128, .stream = s}, x.get());
  checked(cudaMemcpyAsync(host, x.get(), 512, cudaMemcpyDeviceToHost, s), "a copy");
  if (!bug) checked(cudaStreamSynchronize(s), "waiting");
  return host[5] == 2.0f;
}

bool run_events(bool bug) {  // a second stream that does not wait for the first
  DeviceArray<float> x(std::vector<float>(128, 1.0f));
  cudaStream_t s, t;
  cudaEvent_t written;
  checked(cudaStreamCreateWithFlags(&s, cudaStreamNonBlocking), "a stream");
  checked(cudaStreamCreateWithFlags(&t, cudaStreamNonBlocking), "a stream");
  checked(cudaEventCreateWithFlags(&written, cudaEventDisableTiming), "an event");
  launch(add_one, {.grid = 1, .block = 128, .stream = s}, x.get());
  checked(cudaEventRecord(written, s), "recording");
  if (!bug) checked(cudaStreamWaitEvent(t, written), "waiting");
  float host = 0;
  checked(cudaMemcpyAsync(&host, x.get(), 4, cudaMemcpyDeviceToHost, t), "a copy");
  return host == 2.0f;
}

bool run_host_pointer(bool bug) {
  DeviceArray<float> x(std::vector<float>(128, 1.0f));
  std::vector<float> host(128, 1.0f);
  launch(add_one, {.grid = 1, .block = 128}, bug ? host.data() : x.get());
  return x.download()[7] == 2.0f;
}

// ---- all of them ----
/// Kernels that give y = x with the 32 elements of each warp, or all 128, backwards.
bool run_reversal(void (*kernel)(const float*, float*, bool), bool bug, bool in_warps, unsigned blocks = 1) {
  std::vector<float> x(128);
  for (size_t i = 0; i < 128; ++i) x[i] = static_cast<float>(8 * i);
  DeviceArray<float> dx(x), dy(std::vector<float>(128, 0.0f));
  launch(kernel, {.grid = blocks, .block = 128}, dx.get(), dy.get(), bug);
  const auto y = dy.download();
  for (size_t i = 0; i < 128; ++i)
    if (y[i] != x[in_warps ? i ^ 31 : 127 - i]) return false;
  return true;
}

bool run_store(bool bug, bool early_reuse) {
  std::vector<float> x(128);
  for (size_t i = 0; i < 128; ++i) x[i] = static_cast<float>(i);
  DeviceArray<float> dx(x), dy(128);
  const TensorMapSpec spec{
      .rank = 1, .element_bytes = 4, .extents = {128}, .box = {128}, .swizzle = TensorMapSwizzle::kNone};
  launch(store_without_fence, {.grid = 1, .block = 128}, make_tensor_map(dy.get(), spec), dx.get(), bug,
         early_reuse);
  const auto y = dy.download();
  for (size_t i = 0; i < 128; ++i)
    if (y[i] != x[i ^ 31]) return false;
  return true;
}

bool run_product(bool bug) {
  DeviceArray<float> y(128);
  launch(product_without_fence, {.grid = 1, .block = 128, .shared_bytes = (64 + 32) * 128}, y.get(), bug);
  for (float v : y.download())
    if (v != 1.0f) return false;
  return true;
}

bool run(const std::string& name, bool bug) {
  auto ring = [&](RingBug b) { return run_tensor_ring(bug ? b : kNone); };
  if (name == "missing_barrier") return run_reversal(reverse, bug, false);
  if (name == "missing_second_barrier") return run_reversal(second_barrier, bug, false);
  if (name == "missing_syncwarp") return run_reversal(reverse_in_warp, bug, true);
  if (name == "divergent_barrier") return run_reversal(divergent_barrier, bug, false);
  if (name == "two_barriers") return run_reversal(two_barriers, bug, false);
  if (name == "mixed_collectives") return run_reversal(mixed_collectives, bug, true);
  if (name == "out_of_bounds_store") return run_reversal(out_of_bounds_store, bug, true);
  if (name == "out_of_bounds_shared") return run_reversal(out_of_bounds_shared, bug, true);
  if (name == "misaligned_row") return run_reversal(misaligned_row, bug, true);
  if (name == "misaligned_vector") return run_reversal(misaligned_vector, bug, true);
  if (name == "race_between_blocks") return run_reversal(race_between_blocks, bug, true, 8);
  if (name == "wait_off_by_one") return run_reversal(copy_ring, bug, true);
  if (name == "copies_in_order") return run_reversal(copies_in_order, bug, true);
  if (name == "other_barrier") return run_reversal(other_barrier, bug, true);
  if (name == "slot_of_a_warp") return run_reversal(slot_of_a_warp, bug, true);
  if (name == "early_release") return ring(kEarlyRelease);
  if (name == "wrong_parity") return ring(kWrongParity);
  if (name == "missing_wgmma_fence") return ring(kNoWgmmaFence);
  if (name == "missing_mbarrier_fence") return ring(kNoMbarrierFence);
  if (name == "too_few_bytes") return ring(kTooFewBytes);
  if (name == "overwritten_mbarrier") return ring(kOverwrittenBarrier);
  if (name == "missing_proxy_fence_store") return run_store(bug, false);
  if (name == "source_reused_too_early") return run_store(false, bug);
  if (name == "missing_proxy_fence_wgmma") return run_product(bug);
  if (name == "missing_synchronize") return run_streams(bug);
  if (name == "missing_event_wait") return run_events(bug);
  if (name == "host_pointer") return run_host_pointer(bug);
  std::printf("no bug named %s\n", name.c_str());
  std::exit(1);
}

}  // namespace
}  // namespace imago::IMAGO_CUDA_NAMESPACE

int main(int argc, char** argv) {
  const bool fixed = argc == 3 && std::strcmp(argv[2], "fixed") == 0;
  if (argc != 2 && !fixed) return std::printf("usage: planted_bugs NAME [fixed]\n"), 1;
  const bool right = imago::IMAGO_CUDA_NAMESPACE::run(argv[1], !fixed);
  std::printf(right ? "right result\n" : "wrong result\n");
  return right ? 0 : 3;
}
