// Convolution forward: y[n,i,j,k] = (sum_{r,s,c} x[n, i stride + r - top, j stride + s - left, c] w[k,r,s,c]
//                                    + bias[k] + per_image_bias[n,k] + residual[n,i,j,k]) * scale.
//
// x [N,H,W,C] in one or two sources, w [K,R,S,C], y [N,Ho,Wo,K]; float32 or bfloat16, sums in float32. A
// linear layer is N = H = 1, W = rows, R = S = 1.
//
// The idea: a matrix product of pixels x (r,s,c) by K x (r,s,c) on the tiles of implicit_gemm.h. The first
// factor is gathered on the way to shared memory, so nothing is unfolded; padding is a copy of zero bytes,
// and a concatenation is a choice of pointer per sixteen bytes. What the layer adds behind the convolution is
// added while the tile is still float32, and y is written once.
//
// Where the shape suits it, an H100 takes conv2d_hopper.cu instead; K <= 3 takes conv2d_narrow.cu.
//
// Cost: 2 N Ho Wo K R S C FLOP; reads x (K / 128) times through L2, R S times out of L1/L2; writes y once. 35
// to 50 % of an H100's 989 TFLOP/s is what mma.sync kernels of this shape reach elsewhere.
#include "kernels/cuda/convolution/conv2d_epilogue.h"
#include "kernels/cuda/convolution/conv2d_operands.h"
#include "kernels/cuda/convolution/conv2d_special.h"
#include "kernels/cuda/convolution/implicit_gemm.h"
#include "kernels/cuda/runtime/autotune.h"
#include "kernels/cuda/runtime/cuda_backend.h"

namespace imago::IMAGO_CUDA_NAMESPACE {

void CudaBackend::conv2d(const Concat& x, ConstTensorRef w, const Conv2dGeometry& g,
                         const Conv2dEpilogue& epilogue, TensorRef y, Workspace&) {
  if (y.numel() == 0) return;
  dispatch_float(y.dtype, "conv2d", [&](auto element) {
    using T = decltype(element);
    const int64_t outputs = w.shape[0];
    const auto a = patches_of<T>(x, w.shape[1], w.shape[2], g.stride, g.top, g.left, y.shape[1], y.shape[2]);
    const FilterRows<T> b{w.as<T>(), static_cast<int>(outputs), a.depth};
    const ForwardOut<T> out{.y = y.as<T>(),
                            .bias = epilogue.bias.as<float>(),
                            .per_image_bias = epilogue.per_image_bias.as<T>(),
                            .residual = epilogue.residual.as<T>(),
                            .scale = epilogue.scale,
                            .lines = a.lines,
                            .columns = b.lines,
                            .image = a.output,
                            .vector = vector_epilogue(epilogue, y)};
    if (conv2d_narrow(gpu_, x, w, g, y, out)) return;
    const bool vector = chunks_align<T>(x) && aligned16(w.data);
    const auto hopper = [&](int pixels) {
      return g.stride == 1 ? hopper_tiling(gpu_, x, w, y.shape, outputs, out.vector, pixels) : std::nullopt;
    };
    const auto candidates = [&] {
      return conv2d_candidates(gemm_tiling(gpu_, vector, a.lines, b.lines, a.depth, kDepth<T>, 1), hopper);
    };
    const auto run = [&](Choice c) {
      if constexpr (sizeof(T) == 2) {
        if (const int pixels = wgmma_pixels(c.kernel))
          return conv2d_hopper(gpu_, x, w, g, out, y.shape, hopper(pixels).value());
      }
      run_implicit_gemm(gpu_, gemm_tiling(c.kernel, vector, a.lines, b.lines, a.depth, kDepth<T>, 1), a, b,
                        out);
    };
    const Shape &in = x.a.shape, &filter = w.shape;  // [N,H,W,Ca], [K,R,S,C]
    const int added =
        (epilogue.bias ? 1 : 0) + (epilogue.per_image_bias ? 2 : 0) + (epilogue.residual ? 4 : 0);
    const ChoiceKey key(TunedOp::kConv2d, y.dtype,
                        {in[0], in[1], in[2], in[3], x.channels() - in[3], outputs, filter[1], filter[2],
                         g.stride, g.top, g.left, y.shape[1], y.shape[2], added, vector + 2 * out.vector});
    run(choose(gpu_, key, candidates, run));
  });
}

}  // namespace imago::IMAGO_CUDA_NAMESPACE
