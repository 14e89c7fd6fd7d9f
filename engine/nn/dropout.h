// The dropout layer, and when it drops.
#pragma once

#include "engine/nn/module.h"

namespace imago {

/// Dropout that is a function of (seed, stream, image, element): the same when a step is computed again.
class Dropout : public Module {
 public:
  Dropout(float p, uint32_t layer) : p_(p), layer_(layer) {}
  Tensor forward(const Tensor& x);  // the identity unless a DropoutScope is alive and p > 0

 private:
  float p_;
  uint32_t layer_;  // numbers the dropout layers of a model: each has its own random numbers
};

/// Training mode: while alive, Dropout layers drop, with these random numbers. ids [N] int64, one per image
/// of the batch.
class DropoutScope {
 public:
  DropoutScope(uint64_t seed, const Tensor& ids);
  DropoutScope(const DropoutScope&) = delete;
  ~DropoutScope();
};

}  // namespace imago
