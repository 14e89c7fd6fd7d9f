// One decoder a format: pixels as they are stored, without regard to orientation. decode.h is for everybody
// else.
#pragma once

#include <algorithm>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "engine/image/image.h"
#include "kernels/error.h"

namespace imago {

/// Samples of 8 or 16 bits, [H,W,C] with C = 1 grey, 2 grey + alpha, 3 RGB, 4 RGBA, to 8 bits without alpha:
/// round(255 (c a + max (max - a)) / max^2), which is white where a = 0.
template <class Sample>
Image flatten(const Sample* samples, int height, int width, int components) {
  constexpr uint64_t kMax = static_cast<Sample>(-1);
  const bool alpha = components == 2 || components == 4;
  const int channels = alpha ? components - 1 : components;
  const size_t count = static_cast<size_t>(height) * static_cast<size_t>(width);
  if constexpr (kMax == 255) {
    if (!alpha) return {height, width, channels, {samples, samples + count * static_cast<size_t>(channels)}};
  }
  Image image{height, width, channels, std::vector<uint8_t>(count * static_cast<size_t>(channels))};
  uint8_t* out = image.pixels.data();
  for (size_t i = 0; i < count; ++i, samples += components) {
    const uint64_t a = alpha ? samples[channels] : kMax;
    for (int c = 0; c < channels; ++c) {
      const uint64_t over_white = samples[c] * a + kMax * (kMax - a);
      *out++ = static_cast<uint8_t>((over_white * 255 + kMax * kMax / 2) / (kMax * kMax));
    }
  }
  return image;
}

/// Bad input for an image that promises more pixels than a file of so many bytes can be meant to hold: 2^26,
/// or 4096 a byte. Before memory is taken for them.
inline void check_promised_size(int64_t height, int64_t width, size_t bytes, const std::string& name) {
  const int64_t most = std::max<int64_t>(int64_t{1} << 26, 4096 * static_cast<int64_t>(bytes));
  if (height > 0 && width > most / height)
    bad_input(name, ": cannot decode: its ", bytes, " bytes promise ", width, "x", height, " pixels");
}

// PNG by libspng and JPEG by libjpeg-turbo where this build has them, otherwise by stb. Bad input for what
// they cannot decode.
Image decode_png(std::string_view bytes, const std::string& name);
Image decode_jpeg(std::string_view bytes, const std::string& name);
Image decode_webp(std::string_view bytes, const std::string& name);

}  // namespace imago
