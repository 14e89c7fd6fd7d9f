// Warp intrinsics, block barriers and atomics.
#include "tests/lab/cuda_on_cpu/ptx_cases.h"

namespace imago::IMAGO_CUDA_NAMESPACE {
namespace {

/// Every warp intrinsic once: out[op][lane].
constexpr int kOps = 23;
__global__ void warp_ops(const uint32_t* in, uint32_t* out) {
  const int lane = static_cast<int>(threadIdx.x);
  const unsigned all = ~0u, even = 0x55555555u;
  const uint32_t v = in[lane];
  const int s = static_cast<int>(v) - 8;
  int op = 0;
  auto put = [&](uint32_t x) { out[32 * op++ + lane] = x; };
  put(__shfl_sync(all, v, 5));
  put(__shfl_sync(all, v, lane * 7));  // the source wraps around
  put(__shfl_sync(all, v, 3, 8));
  put(__shfl_xor_sync(all, v, 16));
  put(__shfl_xor_sync(all, v, 1));
  put(__shfl_xor_sync(all, v, 8, 8));  // a later segment is out of reach, an earlier one is not
  put(__shfl_up_sync(all, v, 3));
  put(__shfl_up_sync(all, v, 1, 4));
  put(__shfl_down_sync(all, v, 5));
  put(__shfl_down_sync(all, v, 2, 16));
  put(__ballot_sync(all, v % 3 == 0));
  put(static_cast<uint32_t>(__any_sync(all, v == 7)));
  put(static_cast<uint32_t>(__all_sync(all, v < 64)));
  put(__reduce_add_sync(all, v));
  put(static_cast<uint32_t>(__reduce_min_sync(all, s)));
  put(static_cast<uint32_t>(__reduce_max_sync(all, s)));
  put(__reduce_xor_sync(all, v));
  put(__match_any_sync(all, v % 4));
  put(0);
  if (lane % 2 == 0) out[32 * 18 + lane] = __shfl_down_sync(even, v, 2);  // half of the warp
  __syncwarp();
  const double d = __shfl_xor_sync(all, static_cast<double>(v) + 0.25, 4);  // eight bytes
  put(static_cast<uint32_t>(d * 4));
  put(static_cast<uint32_t>(__popc(v) + __clz(s) + __ffs(s)));
  put(__brev(v) ^ __funnelshift_l(v, ~v, 7) ^ __byte_perm(v, ~v, 0x5140));
  put(__umulhi(v * 0x01234567u, 0x89abcdefu));
}

Words warp_ops_input() {
  Words in(32);
  for (uint32_t l = 0; l < 32; ++l) in[l] = (l * 37 + 11) % 61;
  return in;
}

Words warp_ops_expected() {
  const Words v = warp_ops_input();
  Words out;
  auto each = [&](auto f) {
    for (int l = 0; l < 32; ++l) out.push_back(static_cast<uint32_t>(f(l)));
  };
  auto signed_of = [&](int l) { return static_cast<int>(v[l]) - 8; };
  each([&](int) { return v[5]; });
  each([&](int l) { return v[l * 7 % 32]; });
  each([&](int l) { return v[l / 8 * 8 + 3]; });
  each([&](int l) { return v[l ^ 16]; });
  each([&](int l) { return v[l ^ 1]; });
  each([&](int l) { return v[l & 8 ? l ^ 8 : l]; });
  each([&](int l) { return v[l >= 3 ? l - 3 : l]; });
  each([&](int l) { return v[l % 4 >= 1 ? l - 1 : l]; });
  each([&](int l) { return v[l + 5 < 32 ? l + 5 : l]; });
  each([&](int l) { return v[l % 16 + 2 < 16 ? l + 2 : l]; });
  uint32_t ballot = 0, sum = 0, x = 0;
  bool any = false;
  int low = 100, high = -100;
  for (int l = 0; l < 32; ++l) {
    ballot |= static_cast<uint32_t>(v[l] % 3 == 0) << l;
    sum += v[l], x ^= v[l], any = any || v[l] == 7;
    low = std::min(low, signed_of(l)), high = std::max(high, signed_of(l));
  }
  for (uint32_t r :
       {ballot, uint32_t{any}, 1u, sum, static_cast<uint32_t>(low), static_cast<uint32_t>(high), x})
    each([&](int) { return r; });
  each([&](int l) {
    uint32_t same = 0;
    for (int o = 0; o < 32; ++o) same |= static_cast<uint32_t>(v[o] % 4 == v[l] % 4) << o;
    return same;
  });
  each([&](int l) { return l % 2 ? 0 : v[l + 2 < 32 ? l + 2 : l]; });
  each([&](int l) { return 4 * v[l ^ 4] + 1; });
  each([&](int l) {
    const auto s = static_cast<uint32_t>(signed_of(l));
    int leading = 0, first = 0;
    while (leading < 32 && !(s >> (31 - leading) & 1)) ++leading;
    while (first < 32 && !(s >> first & 1)) ++first;
    int ones = 0;
    for (int b = 0; b < 32; ++b) ones += static_cast<int>(v[l] >> b & 1);
    return ones + leading + (s ? first + 1 : 0);
  });
  each([&](int l) {
    uint32_t reversed = 0;
    for (int b = 0; b < 32; ++b) reversed |= (v[l] >> b & 1) << (31 - b);
    const uint32_t shifted = ~v[l] << 7 | v[l] >> 25;
    // bytes: 0 and 4 (of the second word: 0), 1 and 5
    const uint32_t mixed =
        (v[l] & 0xff) | (~v[l] & 0xff) << 8 | (v[l] >> 8 & 0xff) << 16 | (~v[l] >> 8 & 0xff) << 24;
    return reversed ^ shifted ^ mixed;
  });
  each([&](int l) { return static_cast<uint64_t>(v[l] * 0x01234567u) * 0x89abcdefu >> 32; });
  return out;
}

/// Barriers that count, and named barriers between two halves of the block, in turns.
__global__ void block_barriers(uint32_t* out) {
  IMAGO_SHARED(uint32_t, mailbox, [64]);
  const int tid = static_cast<int>(threadIdx.x);
  const int odd = __syncthreads_count(tid % 2);
  const int any = __syncthreads_or(tid == 77);
  const int none = __syncthreads_and(tid != 3);
  uint32_t sum = 0;
  for (uint32_t turn = 0; turn < 5; ++turn) {
    if (tid < 64) {  // writes when the mailbox is free, and says when it is full
      if (turn > 0) ptx::bar_sync(2, 128);
      mailbox[tid] = turn * 100 + static_cast<uint32_t>(tid);
      ptx::bar_arrive(1, 128);
    } else {  // reads when it is full, and says when it is free
      ptx::bar_sync(1, 128);
      sum += mailbox[127 - tid];
      if (turn < 4) ptx::bar_arrive(2, 128);
    }
  }
  out[tid] = sum + static_cast<uint32_t>(1000 * odd + 100 * any + 10 * none);
}

Words block_barriers_expected() {
  Words out(128);
  for (uint32_t t = 0; t < 128; ++t) out[t] = 1000 * 64 + 100 + (t < 64 ? 0 : 1000 + 5 * (127 - t));
  return out;
}

/// Atomics of a whole grid on a few words.
__global__ void atomics(uint32_t* out, float* sum) {
  const unsigned i = blockIdx.x * blockDim.x + threadIdx.x;
  atomicAdd(&out[0], i);
  atomicMax(&out[1], i * 7919 % 1009);
  atomicMin(&out[2], i * 7919 % 1009);
  atomicXor(&out[3], i);
  atomicOr(&out[4], 1u << i % 20);
  if (atomicCAS(&out[5], 0u, i + 1) == 0u) atomicAdd(&out[6], 1u);
  atomicInc(&out[7], 9);
  atomicAdd(sum, 1.0f);
}

/// Time goes on: out[0] by the multiprocessor's clock, out[1] by the one that all share.
__global__ void clocks(uint32_t* out) {
  const uint64_t cycles = ptx::clock_cycles(), ns = ptx::global_nanoseconds();
  uint64_t later = ns;
  for (int i = 0; i < 1'000'000 && later == ns; ++i) later = ptx::global_nanoseconds();
  out[0] = ptx::clock_cycles() > cycles;
  out[1] = later > ns;
}

PtxCase atomics_case() {
  constexpr uint32_t kThreads = 4 * 96;
  return {"atomics", 80,
          [] {
            DeviceArray<uint32_t> out(Words{0, 0, ~0u, 0, 0, 0, 0, 0});
            DeviceArray<float> sum(std::vector<float>{0});
            launch(atomics, {.grid = 4, .block = 96}, out.get(), sum.get());
            Words w = out.download();
            w[5] = w[5] != 0;  // which thread won is up to the schedule
            w.push_back(words_of(sum.download())[0]);
            return w;
          },
          [] {
            Words w{0, 0, ~0u, 0, (1u << 20) - 1, 1, 1, kThreads % 10};
            for (uint32_t i = 0; i < kThreads; ++i) {
              const uint32_t h = i * 7919 % 1009;
              w[0] += i, w[1] = std::max(w[1], h), w[2] = std::min(w[2], h), w[3] ^= i;
            }
            w.push_back(words_of({static_cast<float>(kThreads)})[0]);
            return w;
          }};
}

}  // namespace

std::vector<PtxCase> warp_cases() {
  return {{"warp intrinsics", 80,
           [] {
             DeviceArray<uint32_t> in(warp_ops_input()), out(Words(32 * kOps));
             launch(warp_ops, {.grid = 1, .block = 32}, in.get(), out.get());
             return out.download();
           },
           warp_ops_expected},
          {"block and named barriers", 80,
           [] {
             DeviceArray<uint32_t> out(128);
             launch(block_barriers, {.grid = 1, .block = 128}, out.get());
             return out.download();
           },
           block_barriers_expected},
          atomics_case(),
          {"clocks", 80,
           [] {
             DeviceArray<uint32_t> out(2);
             launch(clocks, {.grid = 1, .block = 1}, out.get());
             return out.download();
           },
           [] {
             return Words{1, 1};
           }}};
}

}  // namespace imago::IMAGO_CUDA_NAMESPACE
