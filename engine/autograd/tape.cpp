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
  };
  const char* op;
  std::string layer;  // for observers
  uint64_t sequence;  // later nodes have larger numbers: a node's users all come after it
  std::vector<Edge> edges;
  BackwardFunction backward;
  Tensor dy;  // the gradient of this node's result, while backward() collects it
};

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
  if (!sum) {
    sum = std::move(part);
    return;
  }
  Tensor target = sum.unshared() ? sum : empty_like(sum);
  backend_of(sum).add(sum, 1, part, 1, target);
  sum = std::move(target);
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
  observe(current_layer(), op, y);
  const auto wants = [](const Tensor& x) { return x && x.requires_grad(); };
  if (!recording || std::none_of(inputs.begin(), inputs.end(), wants)) return y;
  auto node = std::make_shared<Node>(Node{op, current_layer(), next_sequence++, {}, std::move(backward), {}});
  for (const Tensor& x : inputs) {
    if (!wants(x))
      node->edges.push_back({});
    else if (x.node())
      node->edges.push_back({x.node(), {}});
    else
      node->edges.push_back({nullptr, x});
  }
  y.set_node(std::move(node));
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
    check(node->backward != nullptr, node->op, ": backward ran through this node before");
    const LayerScope scope(node->layer);
    Gradients gradients;
    {
      const NoGrad no_grad;
      gradients = node->backward(std::exchange(node->dy, {}));
    }
    node->backward = nullptr;  // frees what it captured
    const auto edges = std::exchange(node->edges, {});
    check(gradients.size() == edges.size(), node->op, ": backward gave ", gradients.size(), " gradients for ",
          edges.size(), " inputs");
    for (size_t i = 0; i < edges.size(); ++i) {
      Tensor& dx = gradients[i];
      if (!dx) continue;
      observe(node->layer, str(node->op, " backward"), dx);
      if (edges[i].node) {
        accumulate(edges[i].node->dy, std::move(dx));
        pending.emplace(edges[i].node->sequence, edges[i].node);
      } else if (Tensor leaf = edges[i].leaf) {
        Tensor sum = leaf.grad();
        leaf.set_grad({});
        accumulate(sum, std::move(dx));
        leaf.set_grad(sum);
      }
    }
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
  auto node = std::make_shared<Node>(Node{"checkpoint", current_layer(), next_sequence++, {}, nullptr, {}});
  for (const Tensor& x : inputs) {
    if (!x || !x.requires_grad())
      node->edges.push_back({});
    else if (x.node())
      node->edges.push_back({x.node(), {}});
    else
      node->edges.push_back({nullptr, x});
  }
  node->backward = [function, leaves](const Tensor& dy) mutable {
    recording = true;  // backward() runs us under NoGrad, which restores the state behind us
    const Tensor again = function(leaves);
    imago::backward(again, dy);
    Gradients gradients;
    for (Tensor& x : leaves) gradients.push_back(x ? x.grad() : Tensor());
    return gradients;
  };
  y = y.detach();
  y.set_node(std::move(node));
  return y;
}

}  // namespace imago
