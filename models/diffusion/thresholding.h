// Dynamic thresholding of the predicted image (Saharia 2022, section 2.3).
#pragma once

#include "engine/tensor/tensor.h"
#include "models/diffusion/sampling_plan.h"

namespace imago {

/// The limit of each image: the quantile of its |x_0|, x_0 = x0_x x + x0_m m, brought into [1, max]. x
/// [N,H,W,C] float32 or float64, m [N | 2N,H,W,C | 2C] as sampler_step wants it; result [N] as x. On the
/// host, in double: it sorts.
Tensor threshold_limits(const Tensor& x, const Tensor& m, const SamplerStep& step,
                        const DynamicThresholding& thresholding);

}  // namespace imago
