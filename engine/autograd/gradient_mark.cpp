#include "engine/autograd/gradient_mark.h"

#include <utility>

#include "engine/autograd/node.h"

namespace imago {

Tensor gradient_mark(const Tensor& x, std::function<void()> reached) {
  if (!grad_enabled() || !x.requires_grad()) return x;
  Tensor y = x.detach();
  attach_node(y, "gradient_mark", {x}, [reached = std::move(reached)](const Tensor& dy) {
    reached();
    return Gradients{dy};  // which goes back to where it was taken from
  });
  if (x.node()) y.node()->dy = x.node()->dy;
  return y;
}

Tensor gradient_end(const Tensor& x, std::function<void()> done) {
  if (!grad_enabled() || !x.node()) return x;
  Tensor y = x.detach();
  attach_node(y, "gradient_end", {}, [x, done = std::move(done)](const Tensor& dy) {
    imago::backward(x, dy);
    done();
    return Gradients{};
  });
  return y;
}

}  // namespace imago
