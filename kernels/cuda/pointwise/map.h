// The one pattern of all elementwise kernels: y[i] = f(a[i], b[i], ...) over contiguous memory, in float32,
// eight neighbours a thread so that every access is sixteen bytes or more.
//
// Cost: bytes in + bytes out over the memory's bandwidth; there is nothing else to win.
#pragma once

#include "kernels/cuda/device/flat_tiling.h"
#include "kernels/cuda/device/vec.h"
#include "kernels/cuda/runtime/gpu.h"

namespace imago::IMAGO_CUDA_NAMESPACE {

/// Eight neighbours of one operand.
struct Eight {
  float v[8];
};

template <class T>
__device__ __forceinline__ Eight load_eight(const T* p) {
  Eight r;
  load8(p, r.v);
  return r;
}

template <class F, class... Eights>
__device__ __forceinline__ void apply_eight(const F& f, float (&out)[8], const Eights&... in) {
#pragma unroll
  for (int e = 0; e < 8; ++e) out[e] = f(in.v[e]...);
}

/// kVector: everything is aligned to sixteen bytes. Otherwise (a view that starts anywhere) one
/// element a thread.
template <bool kVector, class F, class Out, class... In>
__global__ void __launch_bounds__(kFlatThreads)
    map_kernel(const F f, Out* y, const int64_t n, const In*... in) {
  const int64_t thread = static_cast<int64_t>(blockIdx.x) * blockDim.x + threadIdx.x;
  if constexpr (kVector) {
    const int64_t i = 8 * thread;
    if (i + 8 <= n) {
      float out[8];
      apply_eight(f, out, load_eight(in + i)...);
      store8(y + i, out);
    } else {
      for (int64_t j = i; j < n; ++j) y[j] = from_float<Out>(f(to_float(in[j])...));  // the last, short eight
    }
  } else if (thread < n) {
    y[thread] = from_float<Out>(f(to_float(in[thread])...));
  }
}

/// Launches it. y may be one of the inputs.
template <class F, class Out, class... In>
void map(const Gpu& gpu, const F& f, Out* y, int64_t n, const In*... in) {
  if (n == 0) return;
  const bool vector = aligned16(y) && (aligned16(in) && ...);
  const int64_t threads = vector ? ceil_div(n, kFlatElements) : n;
  const LaunchConfig config{
      .grid = blocks_for(threads, kFlatThreads), .block = kFlatThreads, .stream = gpu.stream};
  if (vector)
    launch(map_kernel<true, F, Out, In...>, config, f, y, n, in...);
  else
    launch(map_kernel<false, F, Out, In...>, config, f, y, n, in...);
}

}  // namespace imago::IMAGO_CUDA_NAMESPACE
