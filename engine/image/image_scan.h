// The outer structure of PNG and JPEG files: where they end, and which way up they are.
#pragma once

#include <string>
#include <string_view>

namespace imago {

enum class ImageFormat { kUnknown, kPng, kJpeg };

struct ImageScan {
  ImageFormat format = ImageFormat::kUnknown;
  std::string problem;  // empty: complete as far as the structure tells
  int orientation = 1;  // EXIF: 1 = as stored, 2..8 = mirrored and turned
};

/// Told by the first bytes.
ImageFormat image_format(std::string_view bytes);

/// Walks over the chunks of a PNG (and their checksums) or the segments of a JPEG, up to the end marker.
ImageScan scan_image(std::string_view bytes);

}  // namespace imago
