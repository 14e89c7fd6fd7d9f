// Kernels with faults that ptxas does not count as errors: the check of the real ones must see them.
#include <cstdint>

/// 192 live values where 1024 threads leave 64 registers each.
__global__ void __launch_bounds__(1024) spilling(float* x) {
  float v[192];
#pragma unroll
  for (int i = 0; i < 192; ++i) v[i] = x[i * 1024 + threadIdx.x];
#pragma unroll
  for (int i = 0; i < 192; ++i) v[(i * 29 + 7) % 192] += v[i] * v[(i * 61 + 11) % 192];
#pragma unroll
  for (int i = 0; i < 192; ++i) x[i * 1024 + threadIdx.x] = v[i];
}

#ifdef __CUDA_ARCH_FEAT_SM90_ALL
/// The accumulator is touched while wgmma is in flight.
__global__ void __launch_bounds__(128) serialized(float* out, uint64_t a, uint64_t b, int n) {
  float d[4] = {};
  for (int i = 0; i < n; ++i) {
    asm volatile("wgmma.fence.sync.aligned;" ::: "memory");
    asm volatile("wgmma.mma_async.sync.aligned.m64n8k16.f32.bf16.bf16 {%0,%1,%2,%3}, %4, %5, 1, 1, 1, 0, 0;"
                 : "+f"(d[0]), "+f"(d[1]), "+f"(d[2]), "+f"(d[3])
                 : "l"(a), "l"(b));
    d[0] += 1.0f;
    asm volatile("wgmma.commit_group.sync.aligned;\nwgmma.wait_group.sync.aligned 0;" ::: "memory");
  }
  for (int i = 0; i < 4; ++i) out[threadIdx.x * 4 + i] = d[i];
}

/// No __launch_bounds__: the number of registers at entry is unknown.
__global__ void without_launch_bounds(float* out) {
  asm volatile("setmaxnreg.dec.sync.aligned.u32 40;");
  out[threadIdx.x] = 1.0f;
}
#endif
