// Convolution, batch normalisation and ReLU of a network whose training is over.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "engine/io/safetensors.h"
#include "engine/ops/conv2d.h"

namespace imago {

/// Tensors [N,H,W,Ci] that are read as if concatenated along channels.
using Branches = std::vector<Tensor>;

/// y = relu(gamma (conv(x) - mean) / sqrt(var + 1e-3) + beta), mean and var as training left them (Ioffe &
/// Szegedy 2015). They are folded into the filters and a bias when the layer is made. The filters of
/// different branches lie apart, so that branches are never copied together: the convolution of a
/// concatenation is the sum of the convolutions of its parts, two of which one operation takes.
class BatchNormConv {
 public:
  /// NAME.conv.weight [K,C,R,S] and NAME.bn.{weight,bias,running_mean,running_var} [K] of a file; `shape` is
  /// {K,C,R,S} as expected, `widths` the channels of each branch, C in all. Bad input where the file differs.
  BatchNormConv(const SafetensorsFile& file, const std::string& name, const Shape& shape,
                const std::vector<int64_t>& widths, const Conv2dGeometry& geometry, Device device);
  Tensor forward(const Branches& x) const;  // [N,H,W,C] in branches -> [N,Ho,Wo,K]

 private:
  Conv2dGeometry geometry_;
  std::vector<Parameter> filters_;  // [K,R,S,C] of two branches each (the last, perhaps, of one)
  Parameter bias_;                  // [K]
};

}  // namespace imago
