// What the cost model assumes of a GPU, measured: device memory as a copy reaches it, L2 as all
// multiprocessors read it, the latency of both by a chain of dependent loads, from one kernel of a graph to
// the next, and the clocks that are left while FMA units or tensor cores are busy for a second.
#include "bench/cuda/gpu_constants.h"

#include <chrono>
#include <numeric>
#include <random>
#include <vector>

#include "kernels/cuda/device/ptx.h"
#include "kernels/cuda/device/vec.h"
#include "kernels/cuda/runtime/cuda_backend.h"

namespace imago::IMAGO_CUDA_NAMESPACE {
namespace {

constexpr int kThreads = 256, kBlocksPerSm = 4;
constexpr int kChains = 4;  // of dependent products in a warp: enough to keep the units busy

__global__ void __launch_bounds__(kThreads) copy_all(const uint4* from, uint4* to, int64_t count) {
  const int64_t step = int64_t{gridDim.x} * kThreads;
#pragma unroll 4
  for (int64_t i = int64_t{blockIdx.x} * kThreads + threadIdx.x; i < count; i += step) to[i] = from[i];
}

/// Every block reads the whole buffer, past its L1.
__global__ void __launch_bounds__(kThreads) read_all(const uint4* from, int64_t count, uint32_t* sink) {
  uint32_t seen = 0;
#pragma unroll 8
  for (int64_t i = threadIdx.x; i < count; i += kThreads) {
    const uint4 v = __ldcg(from + (i + int64_t{blockIdx.x} * 4096) % count);
    seen ^= v.x ^ v.y ^ v.z ^ v.w;
  }
  if (seen == 0x12345678u) *sink = seen;  // never, but the compiler cannot know
}

/// One thread goes from load to load.
__global__ void chase(const uint32_t* next, int steps, uint32_t* last) {
  uint32_t at = 0;
  for (int i = 0; i < steps; ++i) at = __ldcg(next + at);
  *last = at;
}

__global__ void nothing() {}

/// Cycles and nanoseconds of block 0 in the second half of the work: by then the clock has settled.
struct Stopwatch {
  uint64_t *cycles, *nanoseconds;
  __device__ void read(int at) const {
    if (blockIdx.x != 0 || threadIdx.x != 0) return;
    cycles[at] = ptx::clock_cycles();
    nanoseconds[at] = ptx::global_nanoseconds();
  }
};

__global__ void __launch_bounds__(kThreads) multiply_floats(int products, Stopwatch watch, float* sink) {
  float sum[kChains];
  for (int c = 0; c < kChains; ++c) sum[c] = static_cast<float>(threadIdx.x + c);
  for (int half = 0; half < 2; ++half) {
    if (half == 1) watch.read(0);
    for (int i = 0; i < products / 2; ++i)
#pragma unroll
      for (int c = 0; c < kChains; ++c) sum[c] = sum[c] * 0.999f + 1.0f;
  }
  watch.read(1);
  if (sum[0] + sum[1] + sum[2] + sum[3] == -1.0f) *sink = sum[0];
}

__global__ void __launch_bounds__(kThreads) multiply_matrices(int products, Stopwatch watch, float* sink) {
  float sum[kChains][4] = {};
  const uint32_t a[4] = {0x3f803f80u + threadIdx.x, 0x3e003f10u, 0xbf403e90u, 0x3f20bf60u};
  const uint32_t b[2] = {0x3ea0bf00u, 0xbe803f40u};
  for (int half = 0; half < 2; ++half) {
    if (half == 1) watch.read(0);
    for (int i = 0; i < products / 2; ++i)
#pragma unroll
      for (int c = 0; c < kChains; ++c) ptx::mma_m16n8k16_bf16(sum[c], a, b);
  }
  watch.read(1);
  if (sum[0][0] == 12345.0f) *sink = sum[1][1] + sum[2][2] + sum[3][3];
}

/// Both operands lie in shared memory: 64 x 256 x 64 products at a time, of two warpgroups.
constexpr int kWgmmaThreads = 256, kWgmmaBytes = (64 + 256) * 128;
__global__ void __launch_bounds__(kWgmmaThreads, 1)
    multiply_warpgroups([[maybe_unused]] int products, [[maybe_unused]] Stopwatch watch,
                        [[maybe_unused]] float* sink) {
#if IMAGO_HAS_WGMMA
  IMAGO_DYNAMIC_SHARED(operands);
  for (int i = static_cast<int>(threadIdx.x); i < kWgmmaBytes / 4; i += kWgmmaThreads)
    reinterpret_cast<uint32_t*>(operands)[i] = 0x3f000000u + 0x10001u * static_cast<uint32_t>(i * 37 % 251);
  ptx::fence_proxy_async();
  __syncthreads();
  const uint64_t a = ptx::wgmma_k_major(operands), b = ptx::wgmma_k_major(operands + 64 * 128);
  float sum[128] = {};
  for (int half = 0; half < 2; ++half) {
    if (half == 1) watch.read(0);
    for (int i = 0; i < products / 2; ++i) {
      ptx::wgmma_fence();
#pragma unroll
      for (int k = 0; k < 4; ++k)
        ptx::wgmma(sum, ptx::wgmma_advance(a, 32 * k), ptx::wgmma_advance(b, 32 * k));
      ptx::wgmma_commit();
      ptx::wgmma_wait<1>();
    }
  }
  ptx::wgmma_wait<0>();
  ptx::wgmma_fence_registers(sum);
  watch.read(1);
#pragma unroll
  for (int i = 0; i < 128; ++i)
    if (sum[i] == 12345.678f) *sink = sum[i];
#endif
}

template <class T>
class Buffer {
 public:
  explicit Buffer(size_t count) { checked(cudaMalloc(&p_, count * sizeof(T)), "cudaMalloc"); }
  ~Buffer() { cudaFree(p_); }
  Buffer(const Buffer&) = delete;
  T* get() const { return p_; }

 private:
  T* p_ = nullptr;
};

class Measurements {
 public:
  Measurements(const ConstantsWork& work, const std::function<void(const GpuConstant&)>& found)
      : work_(work), found_(found), sink_(1), cycles_(2), nanoseconds_(2) {}

  void memory_bandwidth() {
    const auto count = static_cast<int64_t>(work_.copied_bytes / sizeof(uint4));
    Buffer<uint4> from(static_cast<size_t>(count)), to(static_cast<size_t>(count));
    IMAGO_CUDA(cudaMemset(from.get(), 1, work_.copied_bytes));
    const double seconds = seconds_a_call([&] { launch(copy_all, grid(), from.get(), to.get(), count); });
    found_({"memory_bandwidth", 2 * static_cast<double>(work_.copied_bytes) / seconds, "B/s"});
  }
  void l2_bandwidth() {
    const auto count = static_cast<int64_t>(work_.l2_bytes / sizeof(uint4));
    Buffer<uint4> from(static_cast<size_t>(count));
    IMAGO_CUDA(cudaMemset(from.get(), 1, work_.l2_bytes));
    const LaunchConfig config = grid();
    const double seconds = seconds_a_call([&] { launch(read_all, config, from.get(), count, sink_.get()); });
    found_({"l2_bandwidth", static_cast<double>(work_.l2_bytes) * config.grid.x / seconds, "B/s"});
  }
  void latencies() {
    found_({"l2_latency", seconds_a_load(work_.l2_bytes), "s"});
    found_({"memory_latency", seconds_a_load(work_.chased_bytes), "s"});
  }
  void gap_in_a_graph() {
    const auto graph = backend_.record_graph([&] {
      for (int i = 0; i < work_.launches; ++i)
        launch(nothing, {.grid = sms(), .block = kThreads, .stream = backend_.gpu().stream});
    });
    found_({"launch", seconds_a_call([&] { graph->launch(); }) / work_.launches, "s"});
  }
  void clocks() {
    Buffer<float> sink(1);
    const Stopwatch watch{cycles_.get(), nanoseconds_.get()};
    launch(multiply_floats, grid(), 16 * work_.products, watch, sink.get());
    found_({"clock", hertz(), "Hz"});
    const LaunchConfig config = grid();
    const double seconds =
        seconds_of([&] { launch(multiply_matrices, config, work_.products, watch, sink.get()); });
    const double warps = config.grid.x * kThreads / 32.0,
                 flops = warps * kChains * 2.0 * 16 * 8 * 16 * work_.products;
    found_({"mma_sync_clock", hertz(), "Hz"});
    found_({"mma_sync_flops", flops / seconds / (hertz() * sms()), "FLOP/cycle/SM"});
    if (backend_.gpu().capability != 90) return;
    const LaunchConfig one_block_an_sm{
        .grid = sms(), .block = kWgmmaThreads, .shared_bytes = kWgmmaBytes, .stream = backend_.gpu().stream};
    const int products = work_.products / 4;
    const double wgmma_seconds =
        seconds_of([&] { launch(multiply_warpgroups, one_block_an_sm, products, watch, sink.get()); });
    found_({"tensor_clock", hertz(), "Hz"});
    found_({"tensor_flops", 2.0 * (2.0 * 64 * 256 * 64) * products / (wgmma_seconds * hertz()),
            "FLOP/cycle/SM"});
  }

 private:
  unsigned sms() const {
    return static_cast<unsigned>(work_.multiprocessors ? work_.multiprocessors : backend_.gpu().sms);
  }
  LaunchConfig grid() const {
    return {.grid = sms() * kBlocksPerSm, .block = kThreads, .stream = backend_.gpu().stream};
  }
  template <class Enqueue>
  double seconds_of(const Enqueue& enqueue) {
    backend_.synchronize();
    const auto start = std::chrono::steady_clock::now();
    enqueue();
    backend_.synchronize();
    return std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
  }
  template <class Call>
  double seconds_a_call(const Call& call) {
    call();  // the first loads the kernel
    return seconds_of([&] {
             for (int i = 0; i < work_.repeats; ++i) call();
           }) /
           work_.repeats;
  }
  /// A walk through 128-byte lines in one random cycle (Sattolo 1986), begun twice: the first warms the
  /// caches.
  double seconds_a_load(size_t bytes) {
    constexpr uint32_t kStep = 128 / sizeof(uint32_t);
    const size_t lines = bytes / 128;
    std::vector<uint32_t> order(lines), next(lines * kStep);
    std::iota(order.begin(), order.end(), 0u);
    std::mt19937 random(1);
    for (size_t i = lines - 1; i > 0; --i) std::swap(order[i], order[random() % i]);
    for (size_t i = 0; i < lines; ++i) next[i * kStep] = order[i] * kStep;
    Buffer<uint32_t> device(next.size());
    IMAGO_CUDA(cudaMemcpy(device.get(), next.data(), next.size() * sizeof(uint32_t), cudaMemcpyHostToDevice));
    const LaunchConfig one_thread{.stream = backend_.gpu().stream};
    const auto walk = [&] { launch(chase, one_thread, device.get(), work_.chase_steps, sink_.get()); };
    return seconds_a_call(walk) / work_.chase_steps;
  }
  double hertz() {
    backend_.synchronize();
    uint64_t cycles[2], ns[2];
    IMAGO_CUDA(cudaMemcpy(cycles, cycles_.get(), sizeof cycles, cudaMemcpyDeviceToHost));
    IMAGO_CUDA(cudaMemcpy(ns, nanoseconds_.get(), sizeof ns, cudaMemcpyDeviceToHost));
    return 1e9 * static_cast<double>(cycles[1] - cycles[0]) / static_cast<double>(ns[1] - ns[0]);
  }

  const ConstantsWork& work_;
  const std::function<void(const GpuConstant&)>& found_;
  CudaBackend backend_;
  Buffer<uint32_t> sink_;
  Buffer<uint64_t> cycles_, nanoseconds_;
};

}  // namespace

void measure_gpu_constants(const ConstantsWork& work, const std::function<void(const GpuConstant&)>& found) {
  Measurements m(work, found);
  m.memory_bandwidth();
  m.l2_bandwidth();
  m.latencies();
  m.gap_in_a_graph();
  m.clocks();
}

}  // namespace imago::IMAGO_CUDA_NAMESPACE
