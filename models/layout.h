// Between the layout of files that others wrote and ours: images [N,C,H,W] and [N,H,W,C].
#pragma once

#include <cstdint>
#include <vector>

#include "kernels/tensor_ref.h"

namespace imago {

/// x [N,C,H,W] -> [N,H,W,C]; also convolution weights [K,C,R,S] -> [K,R,S,C]. `nchw` is x's shape.
std::vector<float> nchw_to_nhwc(const std::vector<float>& x, const Shape& nchw);
/// x [N,H,W,C] -> [N,C,H,W]. `nhwc` is x's shape.
std::vector<float> nhwc_to_nchw(const std::vector<float>& x, const Shape& nhwc);

}  // namespace imago
