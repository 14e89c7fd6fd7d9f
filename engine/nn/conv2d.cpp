#include "engine/nn/conv2d.h"

#include "engine/autograd/observer.h"

namespace imago {

Conv2d::Conv2d(int64_t in, int64_t out, int filter, const Conv2dGeometry& geometry)
    : geometry_(geometry),
      weight_({out, filter, filter, in}, Init::uniform_fan_in(in * filter * filter)),
      bias_({out}, Init::uniform_fan_in(in * filter * filter)) {
  add("weight", weight_);
  add("bias", bias_);
}

Tensor Conv2d::forward(const Tensor& x, const Extras& extras) {
  const LayerScope scope(path());
  return conv2d(x, extras.skip, weight_, &bias_,
                {geometry_, extras.per_image_bias, extras.residual, extras.scale});
}

}  // namespace imago
