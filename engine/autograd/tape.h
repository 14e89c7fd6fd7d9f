// Reverse-mode automatic differentiation (Linnainmaa 1976; Griewank & Walther 2008), on a tape of nodes.
//
// Every differentiable operation computes its result and then calls record() with a function that turns the
// gradient with respect to the result into the gradients with respect to its inputs. backward() walks the
// nodes from last to first and adds up what arrives at each tensor. Three rules:
//   * A node keeps edges to the nodes before it, not their tensors: what backward needs, its function
//   captures;
//     the rest of the activations is freed at once. A node that has run drops its function, and with it what
//     it captured.
//   * Parameters' gradients are added by the kernels straight into Parameter::value.grad(): a function
//   returns
//     an undefined tensor for them.
//   * The order is fixed (by sequence number), so the sums are, too.
//
// That is all of it, and tape.cpp is the whole algorithm. What stands on it has files of its own: sums that
// an operation continues (continued_sums.h), recomputing activations (recompute.h), marks that say when
// gradients are complete (gradient_mark.h), and who may watch (observer.h).
#pragma once

#include <functional>
#include <initializer_list>
#include <vector>

#include "engine/tensor/tensor.h"

namespace imago {

/// One gradient per input given to record(), in the same order; undefined where an input needs none.
using Gradients = std::vector<Tensor>;
using BackwardFunction = std::function<Gradients(const Tensor& dy)>;

/// Notes how y came from `inputs`, if gradients are being recorded and an input wants one. Returns y.
Tensor record(const char* op, Tensor y, std::initializer_list<Tensor> inputs, BackwardFunction backward);

/// Propagates dy (the gradient of some scalar with respect to y, of the same shape and type) to all leaves
/// that y was computed from. Once: nothing is left of the tape behind y.
void backward(const Tensor& y, const Tensor& dy);

/// While alive, nothing is recorded: sampling, previews, evaluation.
class NoGrad {
 public:
  NoGrad();
  NoGrad(const NoGrad&) = delete;
  ~NoGrad();

 private:
  bool before_;
};
bool grad_enabled();

}  // namespace imago
