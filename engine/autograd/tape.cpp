#include "engine/autograd/tape.h"

#include <algorithm>
#include <map>
#include <utility>

namespace imago {

struct Node {
  /// Where an input's gradient goes: to the node that made it, or to a leaf. Neither: the input wants none.
  struct Edge {
    std::shared_ptr<Node> node;
    Tensor leaf;

    explicit Edge(const Tensor& input);
    Tensor take_gradient() const;
    void set_gradient(const Tensor& gradient) const;
  };
  const char* op;
  std::string layer;  // for observers
  uint64_t sequence;  // later nodes have larger numbers: a node's users all come after it
  std::vector<Edge> edges;
  AddingBackwardFunction backward;
  Tensor dy;  // the gradient of this node's result, while backward() collects it
};

Node::Edge::Edge(const Tensor& input) {
  if (!input || !input.requires_grad()) return;
  node = input.node();
  if (!node) leaf = input;
}

/// What is collected there, and leaves nothing behind.
Tensor Node::Edge::take_gradient() const {
  if (node) return std::exchange(node->dy, {});
  const Tensor gradient = leaf ? leaf.grad() : Tensor();
  if (gradient) Tensor(leaf).set_grad({});
  return gradient;
}
void Node::Edge::set_gradient(const Tensor& gradient) const {
  if (node) node->dy = gradient;
  if (leaf) Tensor(leaf).set_grad(gradient);
}

namespace {

thread_local bool recording = true;
thread_local uint64_t next_sequence = 0;
thread_local const std::string* layer = nullptr;
thread_local const OpObserver::Function* observer = nullptr;

void observe(const std::string& in_layer, const std::string& op, const Tensor& y) {
  if (!observer) return;
  const OpObserver::Function* current = observer;
  observer = nullptr;  // what the observer computes is not observed
  (*current)(in_layer, op, y);
  observer = current;
}

/// sum += part, in place where nobody else can see `sum`.
void accumulate(Tensor& sum, Tensor part) {
  if (!part) return;
  if (!sum) {
    sum = std::move(part);
    return;
  }
  Tensor target = sum.unshared() ? sum : empty_like(sum);
  backend_of(sum).add(sum, 1, part, 1, target);
  sum = std::move(target);
}

std::vector<Node::Edge> edges_to(const std::vector<Tensor>& inputs) {
  return {inputs.begin(), inputs.end()};
}

/// The inputs' sums so far, for an operation to continue. The gradient of a leaf that others hold too (a
/// parameter's, a piece of the flat buffer) stays in its place.
Gradients take_sums(const std::vector<Node::Edge>& edges) {
  Gradients sums;
  for (const Node::Edge& edge : edges) {
    Tensor sum = edge.take_gradient();
    if (edge.leaf && sum && !sum.unshared()) edge.set_gradient(std::exchange(sum, {}));
    sums.push_back(std::move(sum));
  }
  return sums;
}

/// Computes the gradients of a node's inputs and adds them to what is there. The node has served its purpose.
void propagate(Node& node, const std::vector<Node::Edge>& edges) {
  check(node.backward != nullptr, node.op, ": backward ran through this node before");
  const LayerScope scope(node.layer);
  Gradients sums = take_sums(edges), gradients;
  {
    const NoGrad no_grad;
    gradients = node.backward(std::exchange(node.dy, {}), sums);
  }
  node.backward = nullptr;  // frees what it captured
  check(gradients.size() == edges.size(), node.op, ": backward gave ", gradients.size(), " gradients for ",
        edges.size(), " inputs");
  for (size_t i = 0; i < edges.size(); ++i) {
    if (gradients[i]) observe(node.layer, str(node.op, " backward"), gradients[i]);
    Tensor sum = edges[i].take_gradient();  // of the same tensor as an earlier input
    accumulate(sum, std::move(sums[i]));
    accumulate(sum, std::move(gradients[i]));
    edges[i].set_gradient(sum);
  }
}

}  // namespace

bool grad_enabled() {
  return recording;
}
NoGrad::NoGrad(bool enabled) : before_(recording) {
  recording = recording && !enabled;
}
NoGrad::~NoGrad() {
  recording = before_;
}

OpObserver::OpObserver(Function f) {
  observer = new Function(std::move(f));
}
OpObserver::~OpObserver() {
  delete observer;
  observer = nullptr;
}

LayerScope::LayerScope(const std::string& path) : before_(layer) {
  layer = &path;
}
LayerScope::~LayerScope() {
  layer = before_;
}
const std::string& current_layer() {
  static const std::string none;
  return layer ? *layer : none;
}

Tensor record(const char* op, Tensor y, std::initializer_list<Tensor> inputs, BackwardFunction backward) {
  return record(op, std::move(y), inputs,
                [backward = std::move(backward)](const Tensor& dy, Gradients&) { return backward(dy); });
}

Tensor record(const char* op, Tensor y, std::initializer_list<Tensor> inputs,
              AddingBackwardFunction backward) {
  observe(current_layer(), op, y);
  const auto wants = [](const Tensor& x) { return x && x.requires_grad(); };
  if (!recording || std::none_of(inputs.begin(), inputs.end(), wants)) return y;
  y.set_node(std::make_shared<Node>(
      Node{op, current_layer(), next_sequence++, edges_to(inputs), std::move(backward), {}}));
  return y;
}

void backward(const Tensor& y, const Tensor& dy) {
  check(y.node() != nullptr, "backward: nothing was recorded for this tensor");
  check(dy.shape() == y.shape() && dy.dtype() == y.dtype(),
        "backward: the gradient must have the shape and type of the result");
  std::map<uint64_t, std::shared_ptr<Node>, std::greater<>> pending;  // latest first
  accumulate(y.node()->dy, dy);
  pending.emplace(y.node()->sequence, y.node());
  while (!pending.empty()) {
    const std::shared_ptr<Node> node = std::move(pending.begin()->second);
    pending.erase(pending.begin());
    const std::vector<Node::Edge> edges = std::exchange(node->edges, {});
    propagate(*node, edges);
    for (const Node::Edge& edge : edges)
      if (edge.node && edge.node->dy) pending.emplace(edge.node->sequence, edge.node);
  }
}

Tensor checkpoint(const std::function<Tensor(const std::vector<Tensor>&)>& function,
                  const std::vector<Tensor>& inputs) {
  if (!recording) return function(inputs);
  Tensor y;
  {
    const NoGrad no_grad;
    y = function(inputs);
  }
  std::vector<Tensor> leaves;  // the inputs, cut off from what came before; undefined stays undefined
  for (const Tensor& x : inputs) leaves.push_back(x ? x.detach() : x);
  for (size_t i = 0; i < inputs.size(); ++i) {
    if (inputs[i] && inputs[i].requires_grad()) leaves[i].set_requires_grad(true);
  }
  const auto again = [function, leaves](const Tensor& dy, Gradients& so_far) {
    recording = true;  // backward() runs us under NoGrad, which restores the state behind us
    Gradients gradients = leaves;
    for (size_t i = 0; i < leaves.size(); ++i)
      if (leaves[i]) gradients[i].set_grad(std::exchange(so_far[i], {}));
    imago::backward(function(leaves), dy);
    for (Tensor& x : gradients) x = x ? x.grad() : x;
    return gradients;
  };
  auto node = std::make_shared<Node>(
      Node{"checkpoint", current_layer(), next_sequence++, edges_to(inputs), again, {}});
  y = y.detach();
  y.set_node(std::move(node));
  return y;
}

}  // namespace imago
