// A decoded image.
#pragma once

#include <cstdint>
#include <vector>

namespace imago {

/// 8-bit samples, rows from the top, channels interleaved: [H,W,C] with C = 1 (grey) or 3 (RGB).
struct Image {
  int height = 0, width = 0, channels = 0;
  std::vector<uint8_t> pixels;
};

}  // namespace imago
