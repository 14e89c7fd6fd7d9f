#include "engine/image/png.h"

#include <stb_image_write.h>

#include <algorithm>

#include "engine/io/atomic_file.h"
#include "kernels/error.h"

namespace imago {
namespace {

void append(void* context, void* data, int size) {
  static_cast<std::string*>(context)->append(static_cast<const char*>(data), static_cast<size_t>(size));
}

size_t bytes_of(int height, int width, int channels) {
  return static_cast<size_t>(height) * static_cast<size_t>(width) * static_cast<size_t>(channels);
}

}  // namespace

std::string encode_png(std::span<const uint8_t> pixels, int height, int width, int channels) {
  check(height > 0 && width > 0 && (channels == 1 || channels == 3 || channels == 4) &&
            pixels.size() == bytes_of(height, width, channels) && pixels.size() < (1u << 30),
        "encode_png: ", pixels.size(), " bytes for [", height, ",", width, ",", channels, "]");
  std::string file;
  if (!stbi_write_png_to_func(append, &file, width, height, channels, pixels.data(), width * channels))
    failure("encode_png: out of memory for ", height, "x", width);
  return file;
}

void write_png(const std::filesystem::path& path, std::span<const uint8_t> pixels, int height, int width,
               int channels) {
  write_file(path, encode_png(pixels, height, width, channels));
}

void write_png(const std::filesystem::path& path, const Image& image) {
  write_png(path, image.pixels, image.height, image.width, image.channels);
}

Image tile_images(std::span<const uint8_t> pixels, int count, int height, int width, int channels,
                  int columns, int gap) {
  const size_t row_bytes = bytes_of(1, width, channels), image_bytes = bytes_of(height, width, channels);
  check(count > 0 && columns > 0 && gap >= 0 && height > 0 && width > 0 && channels > 0 &&
            pixels.size() == static_cast<size_t>(count) * image_bytes,
        "tile_images: ", pixels.size(), " bytes for [", count, ",", height, ",", width, ",", channels, "]");
  columns = std::min(columns, count);
  const int rows = (count + columns - 1) / columns;
  Image grid{rows * (height + gap) - gap, columns * (width + gap) - gap, channels, {}};
  grid.pixels.assign(bytes_of(grid.height, grid.width, channels), 255);
  for (int n = 0; n < count; ++n) {
    const int top = n / columns * (height + gap), left = n % columns * (width + gap);
    for (int y = 0; y < height; ++y) {
      const uint8_t* from =
          pixels.data() + static_cast<size_t>(n) * image_bytes + static_cast<size_t>(y) * row_bytes;
      std::copy_n(from, row_bytes,
                  grid.pixels.data() + bytes_of(top + y, grid.width, channels) + bytes_of(1, left, channels));
    }
  }
  return grid;
}

}  // namespace imago
