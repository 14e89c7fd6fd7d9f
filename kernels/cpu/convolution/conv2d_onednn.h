// The oneDNN side of convolutions: one source, one element type, plain NHWC tensors and [K,R,S,C] weights in
// and out. What oneDNN needs besides (its blocked weight format, its scratchpad) lies in `scratch`, which the
// caller provides; primitives are built once and cached.
//
// A 1x1 filter with stride 1 and no padding is a matrix product and runs as one.
#pragma once

#include <cstddef>
#include <cstdint>

#include "kernels/dtype.h"

namespace imago::onednn {

/// One convolution. `weight_channels` is the C of the whole weight tensor: with two sources, each convolution
/// uses `c` of them, and the weight pointer points to its first.
struct Conv2d {
  int64_t n, h, w, c, k, r, s, ho, wo;
  int64_t stride, top, left, bottom, right;
  int64_t weight_channels;
  DType dtype;  // of activations and weights; biases and dw are float32
  DType
      result;  // of the y or dx that is written: `dtype`, or float32 where more is added before it is rounded
};

enum class Pass {
  kForward,            // y = conv(x, w)
  kForwardBias,        // y = conv(x, w) + bias
  kForwardAccumulate,  // y += conv(x, w)
  kDgrad,              // dx = conv^T(dy, w)
  kWgrad,              // dw += scale * (dy * x)
};

/// True where oneDNN has fast kernels for NHWC: on CPUs with AVX-512.
bool is_fast();
/// False where this oneDNN on this CPU cannot run the convolution in its type: bfloat16 needs AVX-512.
bool can_run(Pass pass, const Conv2d& conv, float wgrad_scale);

/// Bytes of scratch that run() needs.
size_t scratch_bytes(Pass pass, const Conv2d& conv, float wgrad_scale);

/// The three tensors of a convolution: which is written depends on the pass.
struct Operands {
  void* x = nullptr;  // [N,H,W,C]; written by kDgrad
  void* w = nullptr;  // [K,R,S,weight_channels] from this source's first channel on; kWgrad adds to it
  void* y = nullptr;  // [N,Ho,Wo,K]; written by the forward passes
  const float* bias = nullptr;  // [K], kForwardBias
};

void run(Pass pass, const Conv2d& conv, const Operands& operands, float wgrad_scale, void* scratch);

}  // namespace imago::onednn
