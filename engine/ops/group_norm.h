// Differentiable group normalisation, with activation and scale-shift fused.
#pragma once

#include "engine/autograd/parameter.h"
#include "engine/autograd/tape.h"

namespace imago {

/// x [N,...,C], or x and skip read as if concatenated along channels; gamma, beta [C]; scale_shift [N,2C] or
/// undefined: y = activation((xhat gamma + beta) (1 + scale) + shift), one tensor [N,...,C]. See
/// Backend::group_norm.
Tensor group_norm(const Tensor& x, const Tensor& skip, const Parameter& gamma, const Parameter& beta,
                  const Tensor& scale_shift, const GroupNormConfig& config);

}  // namespace imago
