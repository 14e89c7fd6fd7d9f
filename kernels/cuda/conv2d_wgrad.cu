// The gradient of convolution by its weights:
//   dw[k,r,s,c] += scale * sum_{n,i,j} dy[n,i,j,k] x[n, i stride + r - top, j stride + s - left, c].
//
// x [N,H,W,C] in one or two sources, dy [N,Ho,Wo,K], dw [K,R,S,C] float32; x and dy float32 or bfloat16.
//
// The idea: a matrix product along the pixels, of which there are far more than rows and columns of dw. So
// the pixels are cut into as many parts as fill the chip, every part writes its own float32 [K,(R,S,C)], and
// a second kernel adds the parts in order: no atomics, the same bits every time. Both operands have the
// channels contiguous, across the direction of the sum; ldmatrix transposes them.
//
// Cost: 2 N Ho Wo K R S C FLOP; dy is read R S C / 128 times and x K / 128 times through L2; the parts are
// written and read once, 8 bytes a weight and part. Where the shape suits it, an H100 takes
// conv2d_wgrad_hopper.cu instead; C <= 3 or K <= 3 takes conv2d_narrow.cu. Not measured on a GPU yet.
#include "kernels/cuda/conv2d.h"

#include "kernels/cuda/autotune.h"
#include "kernels/cuda/conv2d_hopper.h"
#include "kernels/cuda/conv2d_narrow.h"
#include "kernels/cuda/conv2d_operands.h"
#include "kernels/cuda/implicit_gemm.h"
#include "kernels/cuda/tiling/candidates.h"

namespace imago::IMAGO_CUDA_NAMESPACE {
namespace {

/// Eight neighbouring weights of output channel k: one part's sums, or dw itself where there is one part
/// only.
struct WgradOut {
  float* dw;
  float* parts;  // [parts, K, (R,S,C)], or null
  float scale;
  int lines, columns;  // K, R * S * C
  bool vector;

  __device__ __forceinline__ void operator()(int k, int column, float (&v)[8]) const {
    const int64_t at = static_cast<int64_t>(k) * columns + column;
    float* const to = parts ? parts + static_cast<int64_t>(blockIdx.z) * lines * columns + at : dw + at;
    const int count = min(8, columns - column);
    if (!parts) {
#pragma unroll
      for (int e = 0; e < 8; ++e)
        if (e < count) v[e] = to[e] + scale * v[e];
    }
    if (vector) {
      store8(to, v);
    } else {
#pragma unroll
      for (int e = 0; e < 8; ++e)
        if (e < count) to[e] = v[e];
    }
  }
};

/// dw[i] += scale * sum over parts, first part first.
__global__ void __launch_bounds__(256)
    add_parts(const float* parts, int count, int64_t weights, float scale, float* dw) {
  for (int64_t i = int64_t{blockIdx.x} * 256 + threadIdx.x; i < weights; i += int64_t{gridDim.x} * 256) {
    float sum = 0;
#pragma unroll 4
    for (int part = 0; part < count; ++part) sum += parts[part * weights + i];
    dw[i] += scale * sum;
  }
}

void add_parts_to(const Gpu& gpu, const float* partial, int parts, float scale, TensorRef dw) {
  LaunchConfig config;
  config.grid = static_cast<unsigned>(std::min<int64_t>((dw.numel() + 255) / 256, 16 * gpu.sms));
  config.block = 256;
  config.stream = gpu.stream;
  launch(add_parts, config, partial, parts, dw.numel(), scale, dw.as<float>());
}

}  // namespace

void conv2d_wgrad(const Gpu& gpu, const Concat& x, ConstTensorRef dy, const Conv2dGeometry& g, float scale,
                  TensorRef dw, Workspace& workspace) {
  if (dw.numel() == 0 || dy.numel() == 0) return;
  if (const int parts = wgrad_narrow_parts(gpu, x, dy, g, dw.shape)) {
    auto* const partial = static_cast<float*>(workspace.get(dw.bytes() * static_cast<size_t>(parts)));
    conv2d_wgrad_narrow(gpu, x, dy, g, dw.shape, partial, parts);
    add_parts_to(gpu, partial, parts, scale, dw);
    return;
  }
  dispatch_float(dy.dtype, "conv2d_wgrad", [&](auto element) {
    using T = decltype(element);
    const Shape &in = x.a.shape, &out = dy.shape, &filter = dw.shape;  // [N,H,W,Ca], [N,Ho,Wo,K], [K,R,S,C]
    const auto patches = patches_of<T>(x, filter[1], filter[2], g.stride, g.top, g.left, out[1], out[2]);
    const PatchColumns<T> b{patches, patches.depth, patches.lines};
    const GradientColumns<T> a{dy.as<T>(), static_cast<int>(filter[0]), patches.lines};
    const bool vector = chunks_align<T>(x) && chunks_align<T>(dy.data, filter[0]);
    const std::optional<WgradTiling> hopper = wgrad_tiling(gpu, x, dy, g, filter);

    const auto candidates = [&] {
      return wgrad_candidates(gpu, hopper, vector, a.lines, b.lines, a.depth, kDepth<T>);
    };
    // The parts, and behind them a dw for trials to add to.
    const auto bytes = [&](Choice c, Purpose purpose) {
      return dw.bytes() * static_cast<size_t>((c.parts > 1 ? c.parts : 0) + (purpose == Purpose::kTrial));
    };
    const auto run = [&](Choice c, Purpose purpose, void* memory) {
      float* const parts = c.parts > 1 ? static_cast<float*>(memory) : nullptr;
      TensorRef to = dw;
      if (purpose == Purpose::kTrial)
        to.data = static_cast<unsigned char*>(memory) + bytes(c, Purpose::kResult);
      if (c.kernel == Kernel::kWgmma128) {
        WgradTiling tiling = hopper.value();
        tiling.cut_into(c.parts);
        conv2d_wgrad_hopper(gpu, x, dy, g, scale, to, parts, tiling);
      } else {
        run_implicit_gemm(gpu, gemm_tiling(c.kernel, vector, a.lines, b.lines, a.depth, kDepth<T>, c.parts),
                          a, b,
                          WgradOut{to.as<float>(), parts, scale, a.lines, b.lines,
                                   b.lines % 8 == 0 && (parts || aligned16(to.data))});
      }
      if (parts) add_parts_to(gpu, parts, c.parts, scale, to);
    };
    const ChoiceKey key(TunedOp::kConv2dWgrad, dy.dtype,
                        {in[0], in[1], in[2], in[3], x.channels() - in[3], filter[0], filter[1], filter[2],
                         g.stride, g.top, g.left, out[1], out[2], vector + 2 * aligned16(dw.data)});
    run_fastest(gpu, key, workspace, candidates, bytes, run);
  });
}

}  // namespace imago::IMAGO_CUDA_NAMESPACE
