// Dynamic thresholding of the predicted image (Saharia 2022, section 2.3).
#pragma once

#include "engine/tensor/tensor.h"

namespace imago {

/// Backend::sampler_step with another clamp: s = the `ratio` quantile of an image's |x_0|, brought into [1,
/// max]; x_0 is clamped to +-s and divided by s. x, z [N,H,W,C] float32 or float64, m [N,H,W,C]; z may be
/// undefined where sigma is 0. On the host, in double: it sorts.
Tensor thresholded_step(const Tensor& x, const Tensor& m, const Tensor& z, const SamplerStep& step,
                        double ratio, double max);

}  // namespace imago
