// Work that is the same every time, captured as a graph where the device has those (CUDA graphs).
#pragma once

#include <functional>
#include <memory>

#include "engine/tensor/allocator.h"

namespace imago {

/// Runs a piece of work again and again: twice as it is (the first time makes what stays, the second settles
/// memory); then it is captured, and from then on replayed as a whole. The work is the same operations on the
/// same tensors every time; what it allocates and frees again comes from the pool. On a device without graphs
/// it is always run as it is.
class CapturedGraph {
 public:
  /// `pool` is used by nothing else that runs before this object is gone.
  CapturedGraph(Device device, const MemoryPool& pool) : device_(device), pool_(pool) {}
  void run(const std::function<void()>& work);

 private:
  static constexpr int kWarmUpRuns = 2;
  Device device_;
  const MemoryPool& pool_;
  int runs_ = 0;
  std::unique_ptr<Graph> graph_;
};

}  // namespace imago
