#include "engine/nn/group_norm.h"

#include "engine/autograd/observer.h"

namespace imago {

GroupNorm::GroupNorm(int groups, int64_t channels, float eps, Activation activation)
    : config_{groups, eps, activation},
      weight_({channels}, Init::constant(1)),
      bias_({channels}, Init::constant(0)) {
  add("weight", weight_);
  add("bias", bias_);
}

Tensor GroupNorm::forward(const Tensor& x, const Tensor& skip, const Tensor& scale_shift) {
  const LayerScope scope(path());
  return group_norm(x, skip, weight_, bias_, scale_shift, config_);
}

}  // namespace imago
