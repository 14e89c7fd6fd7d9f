// PNG files are read back with stb_image, and grids are checked pixel by pixel.
#include "engine/image/png.h"

#define STB_IMAGE_STATIC
#define STB_IMAGE_IMPLEMENTATION
#define STBI_ONLY_PNG
#include <stb_image.h>

#include "tests/support/temp_folder.h"

namespace imago {
namespace {

using test::expect_error;
using test::get;
using test::TempFolder;

std::vector<uint8_t> noise(size_t n) {
  std::vector<uint8_t> bytes(n);
  uint32_t state = 12345;
  for (uint8_t& b : bytes) b = static_cast<uint8_t>((state = state * 1664525u + 1013904223u) >> 24);
  return bytes;
}

TEST(Png, RoundTripForEveryChannelCount) {
  TempFolder folder;
  for (int channels : {1, 3, 4}) {
    const auto pixels = noise(static_cast<size_t>(5 * 7 * channels));
    write_png(folder / "a.png", pixels, 5, 7, channels);
    const std::string file = get(folder / "a.png");
    int width = 0, height = 0, found = 0;
    stbi_uc* read = stbi_load_from_memory(reinterpret_cast<const stbi_uc*>(file.data()),
                                          static_cast<int>(file.size()), &width, &height, &found, 0);
    ASSERT_NE(read, nullptr);
    EXPECT_EQ(height, 5);
    EXPECT_EQ(width, 7);
    EXPECT_EQ(found, channels);
    EXPECT_EQ(std::vector<uint8_t>(read, read + pixels.size()), pixels);
    stbi_image_free(read);
  }
  EXPECT_EQ(folder.names(), std::vector<std::string>{"a.png"});
}

TEST(Png, RefusesShapesThatDoNotFit) {
  expect_error(Fault::kFailure, {"encode_png"}, [] { encode_png(noise(12), 2, 2, 4); });
  expect_error(Fault::kFailure, {"encode_png"}, [] { encode_png(noise(8), 2, 2, 2); });
  expect_error(Fault::kFailure, {"encode_png"}, [] { encode_png({}, 0, 2, 1); });
}

TEST(Png, GridPlacesEveryPixel) {
  const int count = 5, height = 3, width = 4, channels = 3, columns = 2, gap = 2;
  auto pixels = noise(static_cast<size_t>(count * height * width * channels));
  for (uint8_t& p : pixels) p = std::min<uint8_t>(p, 254);  // 255 marks the gaps
  const Image grid = tile_images(pixels, count, height, width, channels, columns, gap);
  ASSERT_EQ(grid.height, 3 * 3 + 2 * 2);
  ASSERT_EQ(grid.width, 2 * 4 + 2);
  size_t inside = 0;
  for (int y = 0; y < grid.height; ++y) {
    for (int x = 0; x < grid.width; ++x) {
      const int row = y / (height + gap), column = x / (width + gap), n = row * columns + column;
      const int dy = y % (height + gap), dx = x % (width + gap);
      const bool gap_pixel = dy >= height || dx >= width || n >= count;
      for (int c = 0; c < channels; ++c) {
        const int expected = gap_pixel ? 255 : pixels[((n * height + dy) * width + dx) * channels + c];
        EXPECT_EQ(grid.pixels[(y * grid.width + x) * channels + c], expected) << y << " " << x << " " << c;
        inside += !gap_pixel;
      }
    }
  }
  EXPECT_EQ(inside, pixels.size());
  const Image one_row = tile_images(pixels, count, height, width, channels, 8, gap);
  EXPECT_EQ(one_row.width, 5 * 4 + 4 * 2);
  EXPECT_EQ(one_row.height, 3);
}

}  // namespace
}  // namespace imago
