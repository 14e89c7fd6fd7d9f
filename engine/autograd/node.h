// What the tape is made of. For the files of engine/autograd: operations need record() alone.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "engine/autograd/tape.h"

namespace imago {

/// One operation that was recorded.
struct Node {
  /// Where an input's gradient goes: to the node that made it, or to a leaf. Neither: the input wants none.
  struct Edge {
    std::shared_ptr<Node> node;
    Tensor leaf;

    explicit Edge(const Tensor& input);
    Tensor take() const;                     // what is collected there, and leaves nothing behind
    void put(const Tensor& gradient) const;  // instead of what is there
    void add(Tensor gradient) const;         // to what is there; nothing where it is undefined
  };

  const char* op;
  std::string layer;  // for observers
  uint64_t sequence;  // later nodes have larger numbers: a node's users all come after it
  std::vector<Edge> edges;
  BackwardFunction backward;
  /// The gradient with respect to this node's result, while backward() collects it. A place that a node may
  /// share with its input's (gradient_mark.h).
  std::shared_ptr<Tensor> dy = std::make_shared<Tensor>();
};

/// y's node, made by `op` from `inputs`, whether or not one of them wants a gradient.
void attach_node(Tensor& y, const char* op, const std::vector<Tensor>& inputs, BackwardFunction backward);

/// Whether operations are recorded from now on; returns what was before.
bool set_grad_enabled(bool enabled);

}  // namespace imago
