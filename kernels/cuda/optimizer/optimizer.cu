// The optimizer's two passes over the flat buffers of a model, whatever the number of its layers.
//
// norm   y = sqrt(sum x^2), in one launch: every block sums one contiguous piece in float64, and the block
//        that finishes last sums the pieces. Which elements a thread takes depends on P alone, and the pieces
//        are summed in their order whoever does it, so the sum has one value. 4 P bytes.
// adamw  Loshchilov & Hutter 2019, algorithm 2, with clipping by the norm (Pascanu 2013) before, and the EMA
//        and the bfloat16 copy of the weights behind, while the parameter is in a register: 4 reads and 3
//        writes of 4 bytes an element, 8 more for the EMA, 2 for the copy: 38 P bytes, 0.45 ms for 35.7 M
//        parameters at 3 TB/s. Separate passes would read the parameters twice more. Four elements a thread,
//        sixteen-byte accesses; eight spill registers.
#include <algorithm>
#include "kernels/cuda/runtime/cuda_backend.h"

#include "kernels/cuda/device/flat_tiling.h"
#include "kernels/cuda/device/vec.h"

namespace imago::IMAGO_CUDA_NAMESPACE {
namespace {

constexpr int kThreads = kFlatThreads, kPieces = kNormPieces;

/// The sum of `mine` over the block, in every thread. Between two sums the block needs a barrier.
__device__ __forceinline__ double block_sum(double mine) {
  IMAGO_SHARED(double, partial, [kThreads]);
  const int thread = static_cast<int>(threadIdx.x);
  partial[thread] = mine;
  __syncthreads();
  for (int half = kThreads / 2; half > 0; half /= 2) {
    if (thread < half) partial[thread] += partial[thread + half];
    __syncthreads();
  }
  return partial[0];
}

/// Blocks that have finished their piece; back at 0 when the last one has. One for all launches: they follow
/// each other on one stream.
__device__ unsigned finished_blocks = 0;

/// Whether this block is the last to come here. What the others wrote before they came can be read then.
__device__ __forceinline__ bool last_block() {
  IMAGO_SHARED(bool, last, [1]);
  if (threadIdx.x == 0) {
    __threadfence();  // this block's results, before it is counted
    last[0] = atomicInc(&finished_blocks, gridDim.x - 1) == gridDim.x - 1;
    __threadfence();
  }
  __syncthreads();
  return last[0];
}

__global__ void __launch_bounds__(kThreads)
    norm_kernel(const float* x, const int64_t n, const int64_t piece, double* sums, float* y) {
  const int64_t begin = static_cast<int64_t>(blockIdx.x) * piece, end = min(begin + piece, n);
  double sum = 0.0;
  for (int64_t i = begin + threadIdx.x; i < end; i += kThreads) {
    const double v = x[i];
    sum += v * v;
  }
  sum = block_sum(sum);
  if (threadIdx.x == 0) sums[blockIdx.x] = sum;
  if (!last_block()) return;  // a barrier: the sum before has been read

  sum = 0.0;
  for (unsigned i = threadIdx.x; i < gridDim.x; i += kThreads) sum += sums[i];
  sum = block_sum(sum);
  if (threadIdx.x == 0) y[0] = static_cast<float>(sqrt(sum));
}

/// The buffers of one update; ema and copy may be null.
struct AdamWBuffers {
  const float* g;
  float *p, *m, *v, *ema;
  __nv_bfloat16* copy;
};

/// The step's numbers, prepared once a thread.
struct AdamWNumbers {
  float clip, beta1, beta2, epsilon;
  float rate, decay;                    // lr / correction1, lr * weight_decay
  float inverse_correction2, ema_rate;  // ema_rate = 1 - ema_decay

  __device__ __forceinline__ AdamWNumbers(const AdamWStep& s, const float* grad_norm)
      : clip(s.max_grad_norm > 0.0f ? fminf(1.0f, s.max_grad_norm / (*grad_norm + 1e-6f)) : 1.0f),
        beta1(s.beta1),
        beta2(s.beta2),
        epsilon(s.epsilon),
        rate(s.learning_rate / s.correction1),
        decay(s.learning_rate * s.weight_decay),
        inverse_correction2(1.0f / s.correction2),
        ema_rate(1.0f - s.ema_decay) {}
};

/// One element: g, p, m, v, ema in registers. The decay goes into the update: 1 - lr * weight_decay in
/// float32 (1e-6 below 1) is up to 3 % of the decay off, always the same way.
__device__ __forceinline__ void update(const AdamWNumbers& s, float g, float& p, float& m, float& v,
                                       float& ema) {
  g *= s.clip;
  m = s.beta1 * m + (1.0f - s.beta1) * g;
  v = s.beta2 * v + (1.0f - s.beta2) * g * g;
  p -= s.decay * p + s.rate * m / (sqrtf(v * s.inverse_correction2) + s.epsilon);
  ema += s.ema_rate * (p - ema);
}

__global__ void __launch_bounds__(kThreads)
    adamw_kernel(const AdamWBuffers b, const int64_t n, const float* grad_norm, const AdamWStep* step) {
  const AdamWNumbers s(*step, grad_norm);
  const int64_t i = kUpdateElements * (static_cast<int64_t>(blockIdx.x) * kThreads + threadIdx.x);
  if (i + kUpdateElements <= n) {
    float g[kUpdateElements], p[kUpdateElements], m[kUpdateElements], v[kUpdateElements],
        ema[kUpdateElements] = {};
    load4(b.g + i, g);
    load4(b.p + i, p);
    load4(b.m + i, m);
    load4(b.v + i, v);
    if (b.ema) load4(b.ema + i, ema);
#pragma unroll
    for (int e = 0; e < kUpdateElements; ++e) update(s, g[e], p[e], m[e], v[e], ema[e]);
    store4(b.p + i, p);
    store4(b.m + i, m);
    store4(b.v + i, v);
    if (b.ema) store4(b.ema + i, ema);
    if (b.copy) store4(b.copy + i, p);
  } else {
    for (int64_t j = i; j < n; ++j) {
      float ema = b.ema ? b.ema[j] : 0.0f;
      update(s, b.g[j], b.p[j], b.m[j], b.v[j], ema);
      if (b.ema) b.ema[j] = ema;
      if (b.copy) b.copy[j] = from_float<__nv_bfloat16>(b.p[j]);
    }
  }
}

}  // namespace

void CudaBackend::norm(ConstTensorRef x, TensorRef y, Workspace& workspace) {
  check(x.dtype == DType::kFloat32, "norm: a tensor of type ", x.dtype, ", expected float32");
  double* const sums = static_cast<double*>(workspace.get(kPieces * sizeof(double)));
  const int64_t n = x.numel(), piece = std::max<int64_t>(kThreads, ceil_div(n, kPieces));
  const unsigned pieces = static_cast<unsigned>(std::max<int64_t>(1, ceil_div(n, piece)));
  launch(norm_kernel, {.grid = pieces, .block = kThreads, .stream = gpu_.stream}, x.as<float>(), n, piece,
         sums, y.as<float>());
}

void CudaBackend::adamw(ConstTensorRef g, ConstTensorRef grad_norm, ConstTensorRef step, TensorRef p,
                        TensorRef m, TensorRef v, TensorRef ema, TensorRef p_bf16) {
  check(p.dtype == DType::kFloat32, "adamw: parameters of type ", p.dtype, ", expected float32");
  for (const void* buffer : {g.data, static_cast<const void*>(p.data), static_cast<const void*>(m.data),
                             static_cast<const void*>(v.data), static_cast<const void*>(ema.data),
                             static_cast<const void*>(p_bf16.data)})
    check(aligned16(buffer), "adamw: a flat buffer is not aligned to 16 bytes");
  if (p.numel() == 0) return;
  const AdamWBuffers buffers{g.as<float>(), p.as<float>(),   m.as<float>(),
                             v.as<float>(), ema.as<float>(), p_bf16.as<__nv_bfloat16>()};
  launch(adamw_kernel,
         {.grid = blocks_for(ceil_div(p.numel(), kUpdateElements), kThreads),
          .block = kThreads,
          .stream = gpu_.stream},
         buffers, p.numel(), grad_norm.as<float>(), step.as<AdamWStep>());
}

}  // namespace imago::IMAGO_CUDA_NAMESPACE
