// The gradients of convolution with respect to weights and bias:
//   dw[k,r,s,c] += scale * sum_{n,i,j} dy[n,i,j,k] x[n, i stride + r - top, j stride + s - left, c],
//   dbias[k]    += scale * sum_{n,i,j} dy[n,i,j,k].
//
// x [N,H,W,C] in one or two sources, dy [N,Ho,Wo,K], dw [K,R,S,C] and dbias [K] float32; x and dy
// float32 or bfloat16.
//
// The idea: a matrix product along the pixels, of which there are far more than rows and columns of dw. So
// the pixels are cut into as many parts as fill the chip, every part writes its own float32 [K,(R,S,C)], and
// a second kernel adds the parts in order: no atomics, the same bits every time. Both operands have the
// channels contiguous, across the direction of the sum; ldmatrix transposes them.
//
// dbias is one more column of dw, for a channel of x that is 1 everywhere. dy is in shared memory anyway, and
// there it is summed (line_sums.h): nothing is read again, and no launch is added. A column of its own would
// cost a whole tile of columns. Up to four tiles of columns take turns, step by step, because a launch ends
// with its slowest block.
//
// Cost: 2 N Ho Wo K R S C FLOP; dy is read R S C / 128 times and x K / 128 times through L2; the parts are
// written and read once, 8 bytes a weight and part. dbias: one mma more beside sixteen, in every fourth step
// of four tiles of columns. Where the shape suits it, an H100 takes conv2d_wgrad_hopper.cu instead; C <= 3 or
// K <= 3 takes conv2d_narrow.cu.
#include "kernels/cuda/convolution/conv2d_operands.h"
#include "kernels/cuda/convolution/conv2d_special.h"
#include "kernels/cuda/convolution/implicit_gemm.h"
#include "kernels/cuda/runtime/autotune.h"
#include "kernels/cuda/runtime/cuda_backend.h"

namespace imago::IMAGO_CUDA_NAMESPACE {
namespace {

/// Eight neighbouring weights of output channel k, and the sums of dy.
struct WgradOut {
  WgradTarget to;
  int lines, columns;  // K, R * S * C
  bool vector;

  __device__ __forceinline__ void operator()(int k, int column, float (&v)[8]) const {
    float* const at = to.dw_of(static_cast<int>(blockIdx.z)) + static_cast<int64_t>(k) * columns + column;
    const int count = min(8, columns - column);
    if (!to.in_parts) {
#pragma unroll
      for (int e = 0; e < 8; ++e)
        if (e < count) v[e] = at[e] + to.scale * v[e];
    }
    if (vector) {
      store8(at, v);
    } else {
#pragma unroll
      for (int e = 0; e < 8; ++e)
        if (e < count) at[e] = v[e];
    }
  }
  __device__ __forceinline__ int line_shares() const {
    return to.shares;
  }
  __device__ __forceinline__ void line_sum(int share, int k, float sum) const {
    to.put_bias(static_cast<int>(blockIdx.z), share, k, sum);
  }
};

/// dw[i] += scale * sum over parts, first part first; dbias alike, behind the weights.
__global__ void __launch_bounds__(256)
    add_parts(const WgradTarget parts, int count, float* dw, float* dbias) {
  const int64_t weights = parts.weights(), all = weights + (dbias ? parts.outputs : 0);
  for (int64_t i = int64_t{blockIdx.x} * 256 + threadIdx.x; i < all; i += int64_t{gridDim.x} * 256) {
    const bool weight = i < weights;
    const int64_t stride = weight ? weights : parts.outputs;
    const int rows = weight ? count : count * parts.shares;
    const float* const from = weight ? parts.dw + i : parts.dbias + (i - weights);
    float* const to = weight ? dw + i : dbias + (i - weights);
    float sum = 0;
    for (int first = 0; first < rows; first += kPartsInFlight) {
      float v[kPartsInFlight];
#pragma unroll
      for (int j = 0; j < kPartsInFlight; ++j) v[j] = first + j < rows ? from[(first + j) * stride] : 0.0f;
#pragma unroll
      for (int j = 0; j < kPartsInFlight; ++j) sum += v[j];
    }
    *to += parts.scale * sum;
  }
}

/// What is added to: dw [K,R,S,C] and dbias [K] or nothing.
struct Gradients {
  float *dw, *dbias;
  Shape filter;

  int64_t outputs() const { return filter[0]; }
  int64_t biases() const { return dbias ? outputs() : 0; }
  int64_t elements() const { return filter.numel() + biases(); }
  int64_t scratch_elements(int parts) const { return parts * (filter.numel() + kMostBiasShares * biases()); }

  /// The same in other memory, for trials.
  Gradients in(float* memory) const { return {memory, dbias ? memory + filter.numel() : nullptr, filter}; }
  WgradTarget target(float scale) const {
    return {.dw = dw,
            .dbias = dbias,
            .scale = scale,
            .outputs = static_cast<int>(outputs()),
            .columns = static_cast<int>(filter.numel() / outputs()),
            .in_parts = false,
            .shares = dbias ? 1 : 0};
  }
  WgradTarget parts_target(float scale, float* memory, int parts, int shares) const {
    WgradTarget t = target(scale);
    t.dw = memory, t.in_parts = true;
    if (dbias) t.dbias = memory + parts * filter.numel(), t.shares = shares;
    return t;
  }
  void add(const Gpu& gpu, const WgradTarget& parts, int count) const {
    LaunchConfig config;
    config.grid = static_cast<unsigned>(std::min<int64_t>(ceil_div(elements(), 256), 16 * gpu.sms));
    config.block = 256;
    config.stream = gpu.stream;
    launch(add_parts, config, parts, count, dw, dbias);
  }
};

}  // namespace

void CudaBackend::conv2d_wgrad(const Concat& x, ConstTensorRef dy, const Conv2dGeometry& g, float scale,
                               TensorRef dw, TensorRef dbias, Workspace& workspace) {
  if (dw.numel() == 0 || dy.numel() == 0) return;
  const Gradients gradients{dw.as<float>(), dbias.as<float>(), dw.shape};
  if (const int parts = narrow_wgrad_parts(gpu_, x, dy, g, dw.shape)) {
    void* const memory =
        workspace.get(static_cast<size_t>(gradients.scratch_elements(parts)) * sizeof(float));
    const WgradTarget sums = gradients.parts_target(scale, static_cast<float*>(memory), parts, 1);
    conv2d_wgrad_narrow(gpu_, x, dy, g, dw.shape, sums, parts);
    gradients.add(gpu_, sums, parts);
    return;
  }
  dispatch_float(dy.dtype, "conv2d_wgrad", [&](auto element) {
    using T = decltype(element);
    const Shape &in = x.a.shape, &out = dy.shape, &filter = dw.shape;  // [N,H,W,Ca], [N,Ho,Wo,K], [K,R,S,C]
    const auto patches = patches_of<T>(x, filter[1], filter[2], g.stride, g.top, g.left, out[1], out[2]);
    const PatchColumns<T> b{patches, patches.depth, patches.lines};
    const GradientColumns<T> a{dy.as<T>(), static_cast<int>(filter[0]), patches.lines};
    const bool vector = chunks_align<T>(x) && chunks_align<T>(dy.data, filter[0]);
    const std::optional<WgradTiling> hopper = wgrad_tiling(gpu_, x, dy, g, filter);

    const auto candidates = [&] {
      return wgrad_candidates(gpu_, hopper, vector, a.lines, b.lines, a.depth, kDepth<T>);
    };
    // The parts' sums, and behind them gradients for trials to add to.
    const auto in_parts = [&](Choice c) { return c.parts > 1 ? gradients.scratch_elements(c.parts) : 0; };
    const auto bytes = [&](Choice c, Purpose purpose) {
      const int64_t trial = purpose == Purpose::kTrial ? gradients.elements() : 0;
      return static_cast<size_t>(in_parts(c) + trial) * sizeof(float);
    };
    const auto run = [&](Choice c, Purpose purpose, void* memory) {
      float* const scratch = static_cast<float*>(memory);
      const Gradients result = purpose == Purpose::kTrial ? gradients.in(scratch + in_parts(c)) : gradients;
      const auto target = [&](int64_t column_tiles) {
        return c.parts > 1 ? result.parts_target(scale, scratch, c.parts, bias_shares(column_tiles, c.parts))
                           : result.target(scale);
      };
      WgradTarget to;
      if (c.kernel == Kernel::kWgmma128) {
        WgradTiling tiling = hopper.value();
        tiling.cut_into(c.parts);
        to = target(tiling.tiles / tiling.output_tiles);
        conv2d_wgrad_hopper(gpu_, x, dy, g, filter, to, tiling);
      } else {
        const GemmTiling tiling =
            gemm_tiling(c.kernel, vector, a.lines, b.lines, a.depth, kDepth<T>, c.parts);
        to = target(tiling.tiles_n);
        run_implicit_gemm(gpu_, tiling, a, b,
                          WgradOut{to, a.lines, b.lines, b.lines % 8 == 0 && aligned16(to.dw)});
      }
      if (to.in_parts) result.add(gpu_, to, c.parts);
    };
    const ChoiceKey key(TunedOp::kConv2dWgrad, dy.dtype,
                        {in[0], in[1], in[2], in[3], x.channels() - in[3], filter[0], filter[1], filter[2],
                         g.stride, g.top, g.left, out[1], out[2], vector + 2 * aligned16(dw.data)});
    run_fastest(gpu_, key, workspace, candidates, bytes, run);
  });
}

}  // namespace imago::IMAGO_CUDA_NAMESPACE
