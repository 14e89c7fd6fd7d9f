// Who watches: the results of operations, with the layer that they ran in.
#pragma once

#include <functional>
#include <string>

#include "engine/tensor/tensor.h"

namespace imago {

/// While alive, `observe` sees the result of every operation, forward ("conv2d") and backward ("conv2d
/// backward"), with the layer in which it ran. To find where a value first went wrong. One at a time.
class OpObserver {
 public:
  using Function = std::function<void(const std::string& layer, const std::string& op, const Tensor& y)>;
  explicit OpObserver(Function observe);
  OpObserver(const OpObserver&) = delete;
  ~OpObserver();
};

/// Shows a result of operation "OP" or "OP backward" to the observer, if there is one. What the observer
/// computes is not observed.
enum class Direction { kForward, kBackward };
void observe(const std::string& layer, const char* op, Direction direction, const Tensor& y);

/// While alive, operations run "in" this layer, e.g. "down_blocks.1.resnets.0.conv1". `path` must outlive it.
class LayerScope {
 public:
  explicit LayerScope(const std::string& path);
  LayerScope(const LayerScope&) = delete;
  ~LayerScope();

 private:
  const std::string* before_;
};
const std::string& current_layer();  // "" outside of any

}  // namespace imago
