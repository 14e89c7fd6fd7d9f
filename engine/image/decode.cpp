#include "engine/image/decode.h"

#include <algorithm>
#include <climits>
#include <fstream>

#include "engine/image/image_scan.h"
#include "engine/image/stored_pixels.h"
#include "engine/io/atomic_file.h"
#include "kernels/error.h"

namespace imago {
namespace {

// EXIF orientations say how the stored rows and columns lie: 5..8 have x and y swapped; 3, 4, 7, 8 come out
// upside down, 2, 3, 6, 7 mirrored.
Image upright(Image stored, int orientation) {
  if (orientation == 1) return stored;
  const bool swap = orientation >= 5;
  const bool flip_y = orientation == 3 || orientation == 4 || orientation >= 7;
  const bool flip_x = orientation == 2 || orientation == 3 || orientation == 6 || orientation == 7;
  Image image{swap ? stored.width : stored.height, swap ? stored.height : stored.width, stored.channels,
              std::vector<uint8_t>(stored.pixels.size())};
  uint8_t* out = image.pixels.data();
  for (int y = 0; y < image.height; ++y) {
    for (int x = 0; x < image.width; ++x) {
      const int down = flip_y ? image.height - 1 - y : y, across = flip_x ? image.width - 1 - x : x;
      const size_t row = static_cast<size_t>(swap ? across : down),
                   column = static_cast<size_t>(swap ? down : across);
      const size_t at = row * static_cast<size_t>(stored.width) + column;
      const uint8_t* from = stored.pixels.data() + at * static_cast<size_t>(stored.channels);
      for (int c = 0; c < stored.channels; ++c) *out++ = from[c];
    }
  }
  return image;
}

// As it is stored.
Image decode_stored(ImageFormat format, std::string_view bytes, const std::string& name) {
  switch (format) {
    case ImageFormat::kPng: return decode_png(bytes, name);
    case ImageFormat::kJpeg: return decode_jpeg(bytes, name);
    default: return decode_webp(bytes, name);
  }
}

}  // namespace

Image decode_image(std::string_view bytes, const std::string& name) {
  const ImageScan scan = scan_image(bytes);
  if (!scan.problem.empty()) bad_input(name, ": ", scan.problem);
  if (bytes.size() > INT_MAX) bad_input(name, ": larger than 2 GiB");
  return upright(decode_stored(scan.format, bytes, name), scan.orientation);
}

Image read_image(const std::filesystem::path& path) {
  return decode_image(read_file(path), path.string());
}

std::string image_file_problem(const std::filesystem::path& path) try {
  std::ifstream file(path, std::ios::binary | std::ios::ate);
  const auto size = file.tellg();
  if (!file || size < 0) return "cannot be read";
  if (size == 0) return "empty file";
  constexpr std::streamoff kEdge = 12;  // a PNG's last chunk
  std::string first(static_cast<size_t>(std::min<std::streamoff>(size, kEdge)), '\0'), last = first;
  const auto edge = static_cast<std::streamsize>(first.size());
  if (!file.seekg(0).read(first.data(), edge) || !file.seekg(-edge, std::ios::end).read(last.data(), edge))
    return "cannot be read";
  const ImageFormat format = image_format(first);
  if (format == ImageFormat::kUnknown) return kNoImageFormat;
  if (format == ImageFormat::kPng && last == std::string_view("\0\0\0\0IEND\xae\x42\x60\x82", 12)) return "";
  if (format == ImageFormat::kJpeg && last.ends_with("\xff\xd9")) return "";
  if (format == ImageFormat::kWebp && webp_size(first) == static_cast<uint64_t>(size)) return "";
  return scan_image(read_file(path)).problem;  // something may follow the end of the image
} catch (const std::exception& e) {
  return e.what();
}

}  // namespace imago
