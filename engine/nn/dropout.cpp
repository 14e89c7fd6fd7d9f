#include "engine/nn/dropout.h"

#include "engine/autograd/observer.h"
#include "engine/ops/elementwise.h"
#include "engine/random/streams.h"

namespace imago {

namespace {

thread_local uint64_t dropout_seed = 0;
thread_local const Tensor* dropout_ids = nullptr;  // null: evaluation

}  // namespace

DropoutScope::DropoutScope(uint64_t seed, const Tensor& ids) {
  dropout_seed = seed;
  dropout_ids = &ids;
}

DropoutScope::~DropoutScope() {
  dropout_ids = nullptr;
}

Tensor Dropout::forward(const Tensor& x) {
  if (!dropout_ids || p_ == 0) return x;
  const LayerScope scope(path());
  return dropout(x, p_, dropout_seed, random_stream(Purpose::kDropout, layer_), *dropout_ids);
}

}  // namespace imago
