#include "models/unet/resample.h"

#include "engine/autograd/observer.h"
#include "engine/ops/resample.h"

namespace imago {

Downsample::Downsample(int64_t channels, int padding)
    : conv_(channels, channels, 3,
            padding == 0 ? Conv2dGeometry{2, 0, 0, 1, 1}
                         : Conv2dGeometry{2, padding, padding, padding, padding}) {
  add("conv", conv_);
}

Upsample::Upsample(int64_t channels) : conv_(channels, channels, 3) {
  add("conv", conv_);
}

Tensor Upsample::forward(const Tensor& x) {
  const LayerScope scope(path());
  return conv_.forward(upsample2x(x));
}

}  // namespace imago
