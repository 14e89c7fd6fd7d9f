#include "engine/nn/linear.h"

#include "engine/autograd/observer.h"
#include "engine/ops/conv2d.h"

namespace imago {

Linear::Linear(int64_t in, int64_t out)
    : weight_({out, in}, Init::uniform_fan_in(in)), bias_({out}, Init::uniform_fan_in(in)) {
  add("weight", weight_);
  add("bias", bias_);
}

Tensor Linear::forward(const Tensor& x, const Tensor& residual, float scale) {
  const LayerScope scope(path());
  return linear(x, weight_, &bias_, residual, scale);
}

}  // namespace imago
