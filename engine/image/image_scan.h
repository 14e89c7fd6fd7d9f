// The outer structure of PNG, JPEG and WebP files: where they end, and which way up they are.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

namespace imago {

enum class ImageFormat { kUnknown, kPng, kJpeg, kWebp };
constexpr const char* kNoImageFormat = "neither PNG, JPEG nor WebP";

struct ImageScan {
  ImageFormat format = ImageFormat::kUnknown;
  std::string problem;  // empty: complete as far as the structure tells
  int orientation = 1;  // EXIF: 1 = as stored, 2..8 = mirrored and turned
};

/// Told by the first bytes.
ImageFormat image_format(std::string_view bytes);

/// Bytes of the whole WebP file as its first 12 say.
uint64_t webp_size(std::string_view bytes);

/// Walks over the chunks of a PNG (and their checksums), the segments of a JPEG, or the chunks of a WebP, up
/// to the end marker or the size that the file gives.
ImageScan scan_image(std::string_view bytes);

}  // namespace imago
