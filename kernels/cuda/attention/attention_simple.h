// Attention without tensor cores, which float32 and heads of more than 256 channels take
// (attention_simple.cu), and the geometry that all of attention's launches share.
#pragma once

#include "kernels/backend.h"
#include "kernels/cuda/attention/attention_tiling.h"
#include "kernels/cuda/device/launch.h"
#include "kernels/cuda/runtime/gpu.h"

namespace imago::IMAGO_CUDA_NAMESPACE {

/// The geometry of a call. Blocks: x = tiles of rows, y = heads, z = images (times slices of channels).
struct AttentionShape {
  int images, tokens, heads, dim;

  AttentionShape(const Shape& q, int head_count)
      : images(static_cast<int>(q[0])),
        tokens(static_cast<int>(q[1])),
        heads(head_count),
        dim(static_cast<int>(q[2] / head_count)) {
    check(q[0] <= 32767 && head_count <= 65535 && q[1] < (1 << 30), "attention: ", q,
          " is more than a launch can hold");
  }
  int64_t stride() const { return int64_t{heads} * dim; }
  dim3 grid(int rows, int slices = 1) const {
    return dim3(static_cast<unsigned>((tokens + rows - 1) / rows), static_cast<unsigned>(heads),
                static_cast<unsigned>(images * slices));
  }
};

void attention_simple(const Gpu& gpu, ConstTensorRef q, ConstTensorRef k, ConstTensorRef v, int heads,
                      float scale, TensorRef y, TensorRef lse);
/// delta [N,heads,T] = rowsum(dy * y), from attention_backward.
void attention_backward_simple(const Gpu& gpu, ConstTensorRef dy, ConstTensorRef q, ConstTensorRef k,
                               ConstTensorRef v, ConstTensorRef lse, const float* delta, int heads,
                               float scale, TensorRef dq, TensorRef dk, TensorRef dv);

}  // namespace imago::IMAGO_CUDA_NAMESPACE
