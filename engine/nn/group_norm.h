// The group normalisation layer.
#pragma once

#include "engine/nn/module.h"
#include "engine/ops/group_norm.h"

namespace imago {

/// weight (gamma) [C] starts at one, bias (beta) [C] at zero.
class GroupNorm : public Module {
 public:
  GroupNorm(int groups, int64_t channels, float eps, Activation activation = Activation::kNone);
  /// x [N,...,C], or x and skip as if concatenated; scale_shift [N,2C] or undefined.
  Tensor forward(const Tensor& x, const Tensor& skip = {}, const Tensor& scale_shift = {});

 private:
  GroupNormConfig config_;
  Parameter weight_, bias_;
};

}  // namespace imago
