#include "engine/autograd/continued_sums.h"

#include <utility>

#include "engine/autograd/node.h"

namespace imago {

namespace {

/// The sums so far, off their edges. The gradient of a leaf that others hold too (a parameter's, a piece of
/// the flat buffer) stays in its place.
Gradients take_sums(const std::vector<Node::Edge>& edges) {
  Gradients sums;
  for (const Node::Edge& edge : edges) {
    Tensor sum = edge.take();
    if (edge.leaf && sum && !sum.unshared()) edge.put(std::exchange(sum, {}));
    sums.push_back(std::move(sum));
  }
  return sums;
}

}  // namespace

BackwardFunction continuing_sums(const std::vector<Tensor>& inputs, ContinuingFunction backward) {
  const std::vector<Node::Edge> edges(inputs.begin(), inputs.end());
  return [edges, backward = std::move(backward)](const Tensor& dy) {
    Gradients sums = take_sums(edges);
    Gradients gradients = backward(dy, sums);
    for (size_t i = 0; i < edges.size(); ++i)
      if (sums[i]) edges[i].put(std::exchange(sums[i], {}));  // it was left there
    return gradients;
  };
}

Tensor record(const char* op, Tensor y, std::initializer_list<Tensor> inputs, ContinuingFunction backward) {
  return record(op, std::move(y), inputs, continuing_sums(inputs, std::move(backward)));
}

}  // namespace imago
