#include "engine/autograd/tape.h"

#include <algorithm>
#include <map>
#include <utility>

#include "engine/autograd/node.h"
#include "engine/autograd/observer.h"

namespace imago {

// ---- Recording ----

namespace {

thread_local bool recording = true;
thread_local uint64_t next_sequence = 0;

bool wants_gradient(const Tensor& x) {
  return x && x.requires_grad();
}

}  // namespace

Node::Edge::Edge(const Tensor& input) {
  if (!wants_gradient(input)) return;
  node = input.node();
  if (!node) leaf = input;
}

void attach_node(Tensor& y, const char* op, const std::vector<Tensor>& inputs, BackwardFunction backward) {
  y.set_node(std::make_shared<Node>(
      Node{op, current_layer(), next_sequence++, {inputs.begin(), inputs.end()}, std::move(backward)}));
}

Tensor record(const char* op, Tensor y, std::initializer_list<Tensor> inputs, BackwardFunction backward) {
  observe(current_layer(), op, Direction::kForward, y);
  if (recording && std::any_of(inputs.begin(), inputs.end(), wants_gradient))
    attach_node(y, op, inputs, std::move(backward));
  return y;
}

bool grad_enabled() {
  return recording;
}
bool set_grad_enabled(bool enabled) {
  return std::exchange(recording, enabled);
}
NoGrad::NoGrad() : before_(set_grad_enabled(false)) {}
NoGrad::~NoGrad() {
  recording = before_;
}

// ---- Backward ----

Tensor Node::Edge::take() const {
  if (node) return std::exchange(*node->dy, {});
  const Tensor gradient = leaf ? leaf.grad() : Tensor();
  if (gradient) Tensor(leaf).set_grad({});
  return gradient;
}

void Node::Edge::put(const Tensor& gradient) const {
  if (node) *node->dy = gradient;
  if (leaf) Tensor(leaf).set_grad(gradient);
}

/// In place where nobody else can see the sum.
void Node::Edge::add(Tensor gradient) const {
  if (!gradient) return;
  const Tensor sum = take();
  if (!sum) return put(gradient);
  const Tensor target = sum.unshared() ? sum : empty_like(sum);
  backend_of(sum).add(sum, 1, gradient, 1, target);
  put(target);
}

namespace {

/// The gradients with respect to a node's inputs. The node has served its purpose: what it captured is freed.
Gradients run(Node& node, size_t inputs) {
  check(node.backward != nullptr, node.op, ": backward ran through this node before");
  Gradients gradients;
  {
    const NoGrad no_grad;
    gradients = node.backward(std::exchange(*node.dy, {}));
  }
  node.backward = nullptr;
  check(gradients.size() == inputs, node.op, ": backward gave ", gradients.size(), " gradients for ", inputs,
        " inputs");
  for (const Tensor& gradient : gradients)
    if (gradient) observe(node.layer, node.op, Direction::kBackward, gradient);
  return gradients;
}

}  // namespace

void backward(const Tensor& y, const Tensor& dy) {
  check(y.node() != nullptr, "backward: nothing was recorded for this tensor");
  check(dy.shape() == y.shape() && dy.dtype() == y.dtype(),
        "backward: the gradient must have the shape and type of the result");
  *y.node()->dy = dy;
  std::map<uint64_t, std::shared_ptr<Node>, std::greater<>> pending;  // latest first
  pending.emplace(y.node()->sequence, y.node());
  while (!pending.empty()) {
    const std::shared_ptr<Node> node = std::move(pending.begin()->second);
    pending.erase(pending.begin());
    const std::vector<Node::Edge> edges = std::exchange(node->edges, {});
    const LayerScope scope(node->layer);
    Gradients gradients = run(*node, edges.size());
    for (size_t i = 0; i < edges.size(); ++i) {
      edges[i].add(std::move(gradients[i]));
      if (edges[i].node && *edges[i].node->dy) pending.emplace(edges[i].node->sequence, edges[i].node);
    }
  }
}

}  // namespace imago
