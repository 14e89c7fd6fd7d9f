#include "engine/autograd/observer.h"

#include <utility>

namespace imago {

namespace {

thread_local const std::string* layer = nullptr;
thread_local const OpObserver::Function* observer = nullptr;

}  // namespace

OpObserver::OpObserver(Function f) {
  observer = new Function(std::move(f));
}
OpObserver::~OpObserver() {
  delete observer;
  observer = nullptr;
}

void observe(const std::string& in_layer, const char* op, Direction direction, const Tensor& y) {
  if (!observer) return;
  const OpObserver::Function* current = std::exchange(observer, nullptr);
  (*current)(in_layer, direction == Direction::kForward ? op : std::string(op) + " backward", y);
  observer = current;
}

LayerScope::LayerScope(const std::string& path) : before_(std::exchange(layer, &path)) {}
LayerScope::~LayerScope() {
  layer = before_;
}
const std::string& current_layer() {
  static const std::string none;
  return layer ? *layer : none;
}

}  // namespace imago
