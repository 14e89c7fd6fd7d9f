// Between the levels of the U-Net: half and twice the size.
#pragma once

#include "engine/nn/conv2d.h"

namespace imago {

/// 3x3 convolution with stride 2. padding 1: a zero on every side; padding 0: one column right and one row at
/// the bottom.
class Downsample : public Module {
 public:
  Downsample(int64_t channels, int padding);
  Tensor forward(const Tensor& x) { return conv_.forward(x); }  // [N,H,W,C] -> [N,H/2,W/2,C]

 private:
  Conv2d conv_;
};

/// Nearest upsampling by two, then a 3x3 convolution.
class Upsample : public Module {
 public:
  explicit Upsample(int64_t channels);
  Tensor forward(const Tensor& x);  // [N,H,W,C] -> [N,2H,2W,C]

 private:
  Conv2d conv_;
};

}  // namespace imago
