// Memory for time: activations that are computed again in backward (gradient checkpointing, Chen 2016).
#pragma once

#include "engine/autograd/tape.h"

namespace imago {

/// y = function(inputs) without keeping what happens inside; backward computes it again. `function` must give
/// the same result when called twice (counter-based dropout does).
Tensor recompute(const std::function<Tensor(const std::vector<Tensor>&)>& function,
                 const std::vector<Tensor>& inputs);

}  // namespace imago
