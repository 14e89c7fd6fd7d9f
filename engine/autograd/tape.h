// Reverse-mode automatic differentiation (Linnainmaa 1976; Griewank & Walther 2008), on a tape of nodes.
//
// Every differentiable operation computes its result and then calls record() with a function that turns the
// gradient of the result into the gradients of its inputs. backward() walks the nodes from last to first.
// Three rules:
//   * A node keeps edges to the nodes before it, not their tensors: what backward needs, its function
//     captures; the rest of the activations is freed at once. A node that has run drops its function, and
//     with it what it captured.
//   * Parameters' gradients are added by the kernels straight into Parameter::value.grad(): a function
//     returns an undefined tensor for them.
//   * The order is fixed (by sequence number), so the sums are, too.
// Where several operations read a tensor, its gradient is a sum. The tape adds, unless an operation does it
// on the way: it is shown the sums so far and takes those that it continues.
#pragma once

#include <functional>
#include <initializer_list>
#include <vector>

#include "engine/tensor/tensor.h"

namespace imago {

/// One gradient per input given to record(), in the same order; undefined where an input needs none.
using Gradients = std::vector<Tensor>;
using BackwardFunction = std::function<Gradients(const Tensor& dy)>;
/// so_far holds, for each input, the sum of the gradients that it has had until now; undefined where there is
/// none. What the function moves out of it, it includes in the gradient that it returns instead; it reads
/// such a tensor but never writes it, since others may hold it, too. To the rest, the tape adds.
using AddingBackwardFunction = std::function<Gradients(const Tensor& dy, Gradients& so_far)>;

/// Notes how y came from `inputs`, if gradients are being recorded and an input wants one. Returns y.
Tensor record(const char* op, Tensor y, std::initializer_list<Tensor> inputs, BackwardFunction backward);
Tensor record(const char* op, Tensor y, std::initializer_list<Tensor> inputs,
              AddingBackwardFunction backward);

/// Propagates dy (the gradient of some scalar by y, same shape and type) to all leaves that y was computed
/// from.
void backward(const Tensor& y, const Tensor& dy);

/// While alive, nothing is recorded: sampling, previews, evaluation.
class NoGrad {
 public:
  explicit NoGrad(bool enabled = true);
  NoGrad(const NoGrad&) = delete;
  ~NoGrad();

 private:
  bool before_;
};
bool grad_enabled();

/// y = function(inputs) without keeping what happens inside; backward computes it again (Chen 2016).
/// `function` must give the same result when called twice (counter-based dropout does).
Tensor checkpoint(const std::function<Tensor(const std::vector<Tensor>&)>& function,
                  const std::vector<Tensor>& inputs);

/// While alive, `observe` sees the result of every operation, forward ("conv2d") and backward ("conv2d
/// backward"), with the layer in which it ran. To find where a value first went wrong.
class OpObserver {
 public:
  using Function = std::function<void(const std::string& layer, const std::string& op, const Tensor& y)>;
  explicit OpObserver(Function observe);
  OpObserver(const OpObserver&) = delete;
  ~OpObserver();
};

/// While alive, operations run "in" this layer, e.g. "down_blocks.1.resnets.0.conv1".
class LayerScope {
 public:
  explicit LayerScope(const std::string& path);
  LayerScope(const LayerScope&) = delete;
  ~LayerScope();

 private:
  const std::string* before_;
};
const std::string& current_layer();

}  // namespace imago
