// Models whose times are noise levels (time_embedding_type "fourier"; Song 2021). DDPM and DDIM cannot train
// or sample them, since their times include 0; the network itself runs.
#pragma once

#include "engine/tensor/tensor.h"

namespace imago {

/// [sin, cos](2 pi w ln t) of levels t [N] > 0 and frequencies w [half]; result [N,2*half] of `dtype`.
/// Computed on the host. Not differentiable.
Tensor fourier_features(const Tensor& t, const Tensor& w, DType dtype);

/// The network's output as a score: y[n] = h[n] / t[n]. h [N,H,W,C], t [N]; result [N,H,W,C].
Tensor divided_by_time(const Tensor& h, const Tensor& t);

}  // namespace imago
