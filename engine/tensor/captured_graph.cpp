#include "engine/tensor/captured_graph.h"

namespace imago {

void CapturedGraph::run(const std::function<void()>& work) {
  Backend& backend = backend_of(device_);
  if (!backend.has_graphs()) return work();
  if (!graph_) {
    const MemoryPool::Scope scope(pool_);
    if (runs_++ < kWarmUpRuns) return work();
    graph_ = backend.record_graph(work);
  }
  graph_->launch();
}

}  // namespace imago
