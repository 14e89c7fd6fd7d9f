// Pooling over windows.
#pragma once

#include "engine/autograd/tape.h"

namespace imago {

/// The mean of each window, of the pixels of it that lie in the image: [N,H,W,C] -> [N,Ho,Wo,C].
Tensor avg_pool(const Tensor& x, const PoolWindow& window);
/// The mean of all pixels (global average pooling, Lin 2014): [N,H,W,C] -> [N,C].
Tensor global_avg_pool(const Tensor& x);
/// The largest of each window: [N,H,W,C] -> [N,Ho,Wo,C]. Not differentiable: fails where a gradient is
/// wanted.
Tensor max_pool(const Tensor& x, const PoolWindow& window);

}  // namespace imago
