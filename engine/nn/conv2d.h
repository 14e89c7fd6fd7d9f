// The convolution layer.
#pragma once

#include "engine/nn/module.h"
#include "engine/ops/conv2d.h"

namespace imago {

/// weight [out,filter,filter,in], bias [out]; both start uniform in +-1/sqrt(in * filter^2).
class Conv2d : public Module {
 public:
  Conv2d(int64_t in, int64_t out, int filter, const Conv2dGeometry& geometry);
  Conv2d(int64_t in, int64_t out, int filter) : Conv2d(in, out, filter, Conv2dGeometry::same(filter)) {}
  /// What is added besides the bias; all parts may be left out.
  struct Extras {
    Tensor skip = {};            // a second source, concatenated behind x along channels
    Tensor per_image_bias = {};  // [N,out]
    Tensor residual = {};        // [N,Ho,Wo,out]
    float scale = 1;
  };
  Tensor forward(const Tensor& x, const Extras& extras);  // [N,H,W,in] -> [N,Ho,Wo,out]
  Tensor forward(const Tensor& x) { return forward(x, Extras{}); }

 private:
  Conv2dGeometry geometry_;
  Parameter weight_, bias_;
};

}  // namespace imago
