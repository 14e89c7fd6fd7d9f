#include "engine/autograd/recompute.h"

#include <utility>

#include "engine/autograd/continued_sums.h"
#include "engine/autograd/node.h"

namespace imago {

Tensor recompute(const std::function<Tensor(const std::vector<Tensor>&)>& function,
                 const std::vector<Tensor>& inputs) {
  if (!grad_enabled()) return function(inputs);
  Tensor y;
  {
    const NoGrad no_grad;
    y = function(inputs).detach();
  }
  std::vector<Tensor> leaves;  // the inputs, cut off from what came before; undefined stays undefined
  for (const Tensor& x : inputs) {
    leaves.push_back(x ? x.detach() : x);
    if (x && x.requires_grad()) leaves.back().set_requires_grad(true);
  }
  const auto again = [function, leaves](const Tensor& dy, Gradients& so_far) {
    set_grad_enabled(true);  // backward() runs us under NoGrad, which restores the state behind us
    Gradients gradients = leaves;
    for (size_t i = 0; i < leaves.size(); ++i)
      if (leaves[i]) gradients[i].set_grad(std::exchange(so_far[i], {}));
    imago::backward(function(leaves), dy);
    for (Tensor& x : gradients) x = x ? x.grad() : x;
    return gradients;
  };
  // A node whether or not an input wants a gradient: the function's own parameters may.
  attach_node(y, "recompute", inputs, continuing_sums(inputs, again));
  return y;
}

}  // namespace imago
