// A recorded operation, ready to be run again by itself.
#pragma once

#include <functional>
#include <memory>
#include <vector>

#include "engine/autograd/watched_backend.h"

namespace imago {

/// Memory of the CPU backend, filled with N(0,1) numbers; freed with this object.
class Operands {
 public:
  Operands() = default;
  Operands(const Operands&) = delete;
  ~Operands();

  TensorRef make(const Shape& shape, DType type);
  /// A tensor like `recorded`, whose memory was the plan's; absent if that was.
  TensorRef like(ConstTensorRef recorded) {
    return recorded ? make(recorded.shape, recorded.dtype) : TensorRef();
  }

 private:
  std::vector<TensorRef> tensors_;
};

/// Scratch memory that grows with what is asked.
class BenchWorkspace : public Workspace {
 public:
  BenchWorkspace() = default;
  BenchWorkspace(const BenchWorkspace&) = delete;
  ~BenchWorkspace() override;
  void* get(size_t bytes) override;

 private:
  void* memory_ = nullptr;
  size_t size_ = 0;
};

/// Whether there is a call for it: not for operations that no step spends time in (fills, copies, embeddings,
/// losses).
bool has_call(const Operation& operation);

/// Runs `operation` on a CPU backend, on operands of its own that have the recorded shapes and types.
std::function<void()> prepare_call(const Operation& operation, Backend& backend = cpu_backend());

}  // namespace imago
