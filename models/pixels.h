// Between images as models see them, numbers in [-1,1], and as files have them, bytes.
#pragma once

#include <cstdint>
#include <vector>

#include "engine/tensor/tensor.h"

namespace imago {

/// round(clamp(x/2 + 1/2) * 255), the pixels that diffusers writes; NaN becomes 0. x [N,H,W,C] float32 or
/// float64 -> N*H*W*C bytes.
std::vector<uint8_t> to_pixels(const Tensor& x);

/// x / 127.5 - 1. pixels [N,H,W,C] uint8; result float32 on the same device.
Tensor from_pixels(const Tensor& pixels);

}  // namespace imago
