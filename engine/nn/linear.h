// The linear layer.
#pragma once

#include "engine/nn/module.h"

namespace imago {

/// y = x W^T + b. weight [out,in], bias [out]; both start uniform in +-1/sqrt(in).
class Linear : public Module {
 public:
  Linear(int64_t in, int64_t out);
  Tensor forward(const Tensor& x, const Tensor& residual = {}, float scale = 1);  // [...,in] -> [...,out]

 private:
  Parameter weight_, bias_;
};

}  // namespace imago
