// Differentiable convolution and linear maps, with what is fused into them.
#pragma once

#include "engine/autograd/parameter.h"
#include "engine/autograd/tape.h"

namespace imago {

struct Conv2dOptions {
  Conv2dGeometry geometry;
  Tensor per_image_bias;  // [N,K], may be undefined: the time embedding
  Tensor residual;        // [N,Ho,Wo,K], may be undefined
  float scale = 1;        // y = (conv + bias + per_image_bias + residual) * scale
};

/// x [N,H,W,C], or x [N,H,W,Ca] and skip [N,H,W,Cb] read as if concatenated along channels; weight [K,R,S,C];
/// bias [K], may be null, trained only where the weight is; result [N,Ho,Wo,K].
Tensor conv2d(const Tensor& x, const Tensor& skip, const Parameter& weight, const Parameter* bias,
              const Conv2dOptions& options);

/// y = x W^T + b (+ residual, times scale). x [...,C], weight [K,C], bias [K] or null, residual [...,K] or
/// undefined; result [...,K].
Tensor linear(const Tensor& x, const Parameter& weight, const Parameter* bias, const Tensor& residual = {},
              float scale = 1);

}  // namespace imago
