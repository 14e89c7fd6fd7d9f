// The gradient of convolution with respect to its data: dx[n,h,w,c] = so_far[n,h,w,c] + scale * sum of
// dy[n,i,j,k] w[k,r,s,c] over all (i,j,k,r,s) with i stride + r - top = h and j stride + s - left = w.
//
// dy [N,Ho,Wo,K], w [K,R,S,C], dx and so_far [N,H,W,C] in one or two tensors; float32 or bfloat16,
// sums in float32.
//
// The idea: turned around, it is a gather, so no two threads add to one place. With stride 1 it is a
// forward convolution of dy by the flipped filter. With stride d, a row h sees only the taps r = (h + top)
// mod d, + d, + 2 d, ...: the pixels fall into d x d residue classes, each of which is a dense stride-1
// convolution with its share of the taps, and no multiplication by an inserted zero is ever done. The
// filter is read as it lies, [k][c], and transposed by ldmatrix on the way to the tensor cores: no flipped
// copy is kept anywhere.
//
// Cost: as forward with C and K exchanged, and one read of so_far; d x d launches.
#include "kernels/cuda/convolution/conv2d_epilogue.h"
#include "kernels/cuda/convolution/conv2d_operands.h"
#include "kernels/cuda/convolution/conv2d_special.h"
#include "kernels/cuda/convolution/implicit_gemm.h"
#include "kernels/cuda/runtime/autotune.h"
#include "kernels/cuda/runtime/cuda_backend.h"

namespace imago::IMAGO_CUDA_NAMESPACE {
namespace {

template <class T>
void run_class(const Gpu& gpu, ConstTensorRef dy, ConstTensorRef w, const Conv2dGeometry& g, float scale,
               const Concat& so_far, const ConcatOut& dx, const ResidueClass& rows,
               const ResidueClass& columns) {
  const Shape& shape = dx.a.shape;  // [N,H,W,Ca]
  const int64_t outputs = w.shape[0], channels = dx.channels();
  const int taps = rows.taps * columns.taps;
  const auto a = patches_of<T>({dy}, rows.taps, std::max(columns.taps, 1), 1, rows.top, columns.top,
                               rows.pixels, columns.pixels);
  const FilterColumns<T> b{.w = w.as<T>(),
                           .lines = static_cast<int>(channels),
                           .depth = static_cast<int>(taps * outputs),
                           .filter_height = static_cast<int>(w.shape[1]),
                           .filter_width = static_cast<int>(w.shape[2]),
                           .first_r = rows.tap,
                           .first_s = columns.tap,
                           .step = g.stride,
                           .outputs = Divisor(outputs),
                           .taps_width = Divisor(std::max(columns.taps, 1))};
  const DgradOut<T> out{.a = dx.a.as<T>(),
                        .b = dx.b.as<T>(),
                        .so_far_a = so_far.a.as<T>(),
                        .so_far_b = so_far.b.as<T>(),
                        .channels_a = static_cast<int>(shape[3]),
                        .channels_b = dx.b ? static_cast<int>(dx.b.shape[3]) : 0,
                        .scale = scale,
                        .lines = a.lines,
                        .columns = b.lines,
                        .image = a.output,
                        .image_width = a.output_width,
                        .height = static_cast<int>(shape[1]),
                        .width = static_cast<int>(shape[2]),
                        .stride = g.stride,
                        .first_h = rows.first,
                        .first_w = columns.first,
                        .vector = vector_dgrad(so_far, {dx.a, dx.b})};
  const bool vector = chunks_align<T>(dy.data, outputs) && chunks_align<T>(w.data, channels);
  auto depth = a;
  depth.depth = b.depth;  // 0 where the class sees no tap: dx = 0
  const auto hopper = [&](int pixels) {
    return g.stride == 1 ? hopper_tiling(gpu, {dy}, w, shape, channels, out.vector, pixels) : std::nullopt;
  };
  const auto candidates = [&] {
    return conv2d_candidates(gemm_tiling(gpu, vector, a.lines, b.lines, b.depth, kDepth<T>, 1), hopper);
  };
  const auto run = [&](Choice c) {
    if constexpr (sizeof(T) == 2) {
      if (const int pixels = wgmma_pixels(c.kernel))
        return conv2d_dgrad_hopper(gpu, dy, w, g, out, shape, hopper(pixels).value());
    }
    run_implicit_gemm(gpu, gemm_tiling(c.kernel, vector, a.lines, b.lines, b.depth, kDepth<T>, 1), depth, b,
                      out);
  };
  const ChoiceKey key(TunedOp::kConv2dDgrad, dy.dtype,
                      {shape[0], shape[1], shape[2], shape[3], channels - shape[3], outputs, w.shape[1],
                       w.shape[2], g.stride, g.top, g.left, dy.shape[1], dy.shape[2], rows.first,
                       columns.first, vector + 2 * out.vector, sources_there(so_far)});
  run(choose(gpu, key, candidates, run));
}

}  // namespace

void CudaBackend::conv2d_dgrad(ConstTensorRef dy, ConstTensorRef w, const Conv2dGeometry& g, float scale,
                               const Concat& so_far, const ConcatOut& dx, Workspace&) {
  const Shape& shape = dx.a.shape;  // [N,H,W,Ca]
  if (shape.numel() == 0) return;
  const int filter_h = static_cast<int>(w.shape[1]), filter_w = static_cast<int>(w.shape[2]);
  dispatch_float(dy.dtype, "conv2d_dgrad", [&](auto element) {
    for (int h = 0; h < std::min<int64_t>(g.stride, shape[1]); ++h)
      for (int v = 0; v < std::min<int64_t>(g.stride, shape[2]); ++v)
        run_class<decltype(element)>(gpu_, dy, w, g, scale, so_far, dx,
                                     ResidueClass(h, shape[1], filter_h, g.stride, g.top),
                                     ResidueClass(v, shape[2], filter_w, g.stride, g.left));
  });
}

}  // namespace imago::IMAGO_CUDA_NAMESPACE
