#include "models/pixels.h"

#include <algorithm>
#include <cmath>

#include "engine/ops/elementwise.h"

namespace imago {

std::vector<uint8_t> to_pixels(const Tensor& x) {
  std::vector<uint8_t> pixels;
  for (double value : to_doubles(x)) {
    const auto unit = std::clamp(static_cast<float>(value) / 2 + 0.5f, 0.0f, 1.0f);
    pixels.push_back(std::isnan(unit) ? 0 : static_cast<uint8_t>(std::nearbyint(unit * 255)));
  }
  return pixels;
}

Tensor from_pixels(const Tensor& pixels) {
  const Tensor x = cast(pixels, DType::kFloat32), ones = empty_like(x);
  fill(ones, 1);
  return add(x, ones, 1 / 127.5f, -1);
}

}  // namespace imago
