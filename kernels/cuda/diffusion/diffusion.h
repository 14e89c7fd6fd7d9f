// Noise, the loss and the sampler's update on the GPU; formulas and shapes in kernels/backend.h.
#pragma once

#include "kernels/backend.h"
#include "kernels/cuda/runtime/gpu.h"

namespace imago::IMAGO_CUDA_NAMESPACE {

void normal(const Gpu& gpu, const RandomKey& key, TensorRef y);
void q_sample(const Gpu& gpu, ConstTensorRef x0, ConstTensorRef coefficients, const RandomKey& key,
              TensorRef xt, TensorRef target);
void mse_loss(const Gpu& gpu, ConstTensorRef prediction, ConstTensorRef target, ConstTensorRef weight,
              TensorRef loss);
void mse_loss_backward(const Gpu& gpu, ConstTensorRef dloss, ConstTensorRef prediction, ConstTensorRef target,
                       ConstTensorRef weight, TensorRef dprediction);
void sampler_step(const Gpu& gpu, ConstTensorRef x, ConstTensorRef m, const SamplerStep& step,
                  const RandomKey& key, TensorRef y);

}  // namespace imago::IMAGO_CUDA_NAMESPACE
