// Embeddings of times and labels.
#pragma once

#include "engine/autograd/parameter.h"
#include "engine/autograd/tape.h"

namespace imago {

/// [sin(t f), cos(t f)], halves swapped if cos_first (Vaswani 2017; Ho 2020). t [N] float32, frequencies
/// [width/2] float32; result [N,width] of `dtype`, a last odd column zero. Not differentiable.
Tensor sinusoid(const Tensor& t, const Tensor& frequencies, int64_t width, bool cos_first, DType dtype);

/// table[index[n]]. table [rows,E], index [N] int32 (checked by the caller to lie in [0, rows)); result [N,E]
/// of `dtype`.
Tensor embedding(const Parameter& table, const Tensor& index, DType dtype);

}  // namespace imago
