// Gradients that an operation adds to while it computes them.
//
// What several operations read (a residual, a skip connection, the input of q, k and v) has a sum as its
// gradient. The tape adds each part to the sum when it arrives, which is a pass over memory of its own: three
// tensors go through for nothing but an addition. The kernels that make such parts can add on their way,
// since they have every element in a register when they write it: dx = so_far + W^T dy costs one more read.
//
// So a backward function may take `so_far` besides dy: for each input the sum of the gradients that it has
// had until now. What the function moves out of there, it includes in the gradient that it returns, and the
// tape finds nothing left to add to. The gradients of convolution and GroupNorm do so. The sums are taken off
// the edges before the function runs, and what it leaves is put back; the tape itself knows nothing of it.
#pragma once

#include "engine/autograd/tape.h"

namespace imago {

/// so_far holds, for each input, the sum of the gradients that it has had until now; undefined where there is
/// none, and for a tensor that an earlier input is too. The function reads what it moves out of there but
/// never writes it, since others may hold it.
using ContinuingFunction = std::function<Gradients(const Tensor& dy, Gradients& so_far)>;

/// As record() of tape.h, for an operation that continues sums.
Tensor record(const char* op, Tensor y, std::initializer_list<Tensor> inputs, ContinuingFunction backward);

/// The same function as the tape knows them.
BackwardFunction continuing_sums(const std::vector<Tensor>& inputs, ContinuingFunction backward);

}  // namespace imago
