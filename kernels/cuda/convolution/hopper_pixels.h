// The boxes of pixel_boxes.h on the device, and the rings through which they reach the tensor cores. Shared
// by conv2d_hopper.cu and conv2d_wgrad_hopper.cu.
#pragma once

#include "kernels/cuda/convolution/pixel_boxes.h"
#include "kernels/cuda/device/ptx.h"
#include "kernels/cuda/device/ring_position.h"
#include "kernels/cuda/device/vec.h"
#include "kernels/cuda/runtime/gpu.h"
#include "kernels/tensor_ref.h"

namespace imago::IMAGO_CUDA_NAMESPACE {

/// The boxes of pixels that tile an output of [N,H,W], as kernels see them.
struct PixelBoxes : BoxShape {
  Divisor across, down;  // boxes across and down one image

  PixelBoxes() = default;
  explicit PixelBoxes(const BoxShape& shape)
      : BoxShape(shape), across(shape.boxes_across), down(shape.boxes_down) {}

  /// First pixel of box i: column w, row h of image n.
  __device__ __forceinline__ void origin(int i, int& n, int& h, int& w) const {
    int row;
    across.split(i, row, w);
    down.split(row, n, h);
    n *= images, h <<= log_h, w <<= log_w;
  }
  /// The line of shared memory at which pixel q of the box lies (its halo's first row is line 0
  /// of its image).
  __device__ __forceinline__ int line(int q) const {
    const int image = q >> (log_w + log_h);
    return q + ((image * halo) << log_w);
  }
};

/// A tensor [N,H,W,C] as TMA sees it, in boxes.
inline TensorMap pixel_map(ConstTensorRef x, const PixelBoxes& boxes) {
  TensorMapSpec spec;
  spec.rank = 4;
  for (int i = 0; i < 4; ++i) spec.extents[i] = static_cast<uint64_t>(x.shape[3 - i]);  // C, W, H, N
  spec.box[0] = kBlock, spec.box[1] = 1u << boxes.log_w;
  spec.box[2] = static_cast<uint32_t>(boxes.rows()), spec.box[3] = static_cast<uint32_t>(boxes.images);
  return make_tensor_map(x.data, spec);
}

}  // namespace imago::IMAGO_CUDA_NAMESPACE
