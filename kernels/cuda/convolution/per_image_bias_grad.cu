// The gradient of convolution by its per-image bias, the time embedding: dper_image[n,k]
// = scale * sum_p dy[n,p,k].
//
// dy [N,P,K] or [N,H,W,K] float32 or bfloat16; dper_image [N,K] as dy.
//
// The idea: sums of columns in two steps. A block sums one slab of one image's pixels for 32 groups of
// eight channels: a warp reads sixteen bytes a lane along the channels, eight warps take every eighth pixel
// and meet in shared memory. The second kernel adds the slabs in order: no atomics, the same bits every time.
// (The gradient by the ordinary bias needs no pass over dy: it comes out of conv2d_wgrad.)
//
// Cost: reads dy once (memory-bound: bytes / 3 TB/s on an H100). Not measured on a GPU yet.
#include "kernels/cuda/convolution/conv2d.h"
#include "kernels/cuda/device/vec.h"
#include "kernels/cuda/runtime/flat_tiling.h"

namespace imago::IMAGO_CUDA_NAMESPACE {
namespace {

constexpr int kWarps = 8;
constexpr int kSlabChannels = BiasSlabs::kChannels;  // of a block: 32 lanes x 8

/// partial[n, slab, k] = sum over the slab's pixels. grid: (slabs, groups of 256 channels, images).
template <class T>
__global__ void __launch_bounds__(32 * kWarps, 4)
    sum_slabs(const T* dy, int pixels, int channels, int slab, bool vector, float* partial) {
  IMAGO_SHARED(float, sums, [kWarps][kSlabChannels]);
  const int lane = static_cast<int>(threadIdx.x) % 32, warp = static_cast<int>(threadIdx.x) / 32;
  const int k = static_cast<int>(blockIdx.y) * kSlabChannels + lane * 8, n = static_cast<int>(blockIdx.z);
  const int begin = static_cast<int>(blockIdx.x) * slab, end = min(begin + slab, pixels);
  float sum[8] = {};
  for (int p = begin + warp; p < end; p += kWarps) {
    const T* from = dy + (static_cast<int64_t>(n) * pixels + p) * channels + k;
    float v[8] = {};
    if (vector) {
      if (k < channels) load8(from, v);
    } else {
#pragma unroll
      for (int e = 0; e < 8; ++e)
        if (k + e < channels) v[e] = to_float(from[e]);
    }
#pragma unroll
    for (int e = 0; e < 8; ++e) sum[e] += v[e];
  }
  store8(&sums[warp][lane * 8], sum);
  __syncthreads();
  const int c = static_cast<int>(threadIdx.x);
  const int channel = static_cast<int>(blockIdx.y) * kSlabChannels + c;
  if (channel >= channels) return;
  float total = 0;
#pragma unroll
  for (int w = 0; w < kWarps; ++w) total += sums[w][c];
  partial[(static_cast<int64_t>(n) * gridDim.x + blockIdx.x) * channels + channel] = total;
}

/// dper_image[n,k] = scale * sum over the image's slabs. grid: (K / 256, N).
template <class T>
__global__ void __launch_bounds__(256)
    sum_images(const float* partial, int slabs, int channels, float scale, T* dper_image) {
  const int k = static_cast<int>(blockIdx.x * 256 + threadIdx.x), n = static_cast<int>(blockIdx.y);
  if (k >= channels) return;
  float sum = 0;
  for (int slab = 0; slab < slabs; ++slab)
    sum += partial[(static_cast<int64_t>(n) * slabs + slab) * channels + k];
  dper_image[static_cast<int64_t>(n) * channels + k] = from_float<T>(scale * sum);
}

}  // namespace

void per_image_bias_grad(const Gpu& gpu, ConstTensorRef dy, float scale, TensorRef dper_image,
                         Workspace& workspace) {
  const int64_t images = dy.shape[0], channels = dy.shape[-1];
  if (images * channels == 0) return;
  const int64_t pixels = dy.numel() / (images * channels);
  check(pixels < (1 << 30) && channels < (1 << 30) && images < 65536, "per_image_bias_grad on CUDA: shape ",
        dy.shape, " is too large");
  const BiasSlabs cut(gpu, images, pixels, channels);
  const bool vector = channels % 8 == 0 && aligned16(dy.data);
  float* const partial =
      static_cast<float*>(workspace.get(static_cast<size_t>(images * cut.slabs * channels) * 4));

  dispatch_float(dy.dtype, "per_image_bias_grad", [&](auto element) {
    using T = decltype(element);
    auto config = [&](int64_t x, int64_t y, int64_t z) {
      LaunchConfig c;
      c.grid = dim3(static_cast<unsigned>(x), static_cast<unsigned>(y), static_cast<unsigned>(z));
      c.block = 256;
      c.stream = gpu.stream;
      return c;
    };
    const int p = static_cast<int>(pixels), k = static_cast<int>(channels), s = static_cast<int>(cut.slabs);
    launch(sum_slabs<T>, config(cut.slabs, cut.groups, images), dy.as<T>(), p, k, static_cast<int>(cut.slab),
           vector, partial);
    launch(sum_images<T>, config(ceil_div(channels, 256), images, 1), partial, s, k, scale,
           dper_image.as<T>());
  });
}

}  // namespace imago::IMAGO_CUDA_NAMESPACE
