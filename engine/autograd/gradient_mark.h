// Points of the tape at which gradients are known to be complete, while backward goes on.
//
// backward() runs nodes from last to first. So when it gets to a node, every operation recorded after that
// node has run, and the gradients of parameters that only those operations read have their final values: a
// reduction over several devices can start on them while the rest is computed. A mark is such a node that
// computes nothing: the identity, whose backward calls a function. It costs no launch and no addition, and
// changes no sum: it collects its result's gradient in the same place as its input's is collected in.
#pragma once

#include "engine/autograd/tape.h"

namespace imago {

/// x itself (the same storage). When backward gets here, all operations that were recorded after this call
/// and lead to the result have run, and `reached` is called. Not recorded, and never called, where x wants no
/// gradient. x is the result of a recorded operation, else its gradient may take one addition more.
Tensor gradient_mark(const Tensor& x, std::function<void()> reached);

/// x itself, as a mark for what x was computed from: when backward gets here, it first runs all of that, then
/// calls `done`. No other operation may read x or what it was computed from, except leaves. For the first
/// operations of a model, before which no mark can stand, since their inputs want no gradients.
Tensor gradient_end(const Tensor& x, std::function<void()> done);

}  // namespace imago
