// Resizing against Pillow's own numbers, cropping and flipping pixel by pixel.
#include "engine/image/resize.h"

#include <algorithm>

#include "tests/support/temp_folder.h"

namespace imago {
namespace {

using Bytes = std::vector<uint8_t>;

TEST(Resize, EqualsPillow) {  // Pillow 11.0: Image.fromarray(a).resize((width, height), Image.BILINEAR)
  Image a{5, 7, 1, {}};
  for (int y = 0; y < 5; ++y)
    for (int x = 0; x < 7; ++x)
      a.pixels.push_back(static_cast<uint8_t>(37 * x * x + 91 * y * y + 13 * x * y));
  EXPECT_EQ(resize_bilinear(a, 3, 4).pixels, (Bytes{60, 100, 134, 121, 116, 79, 93, 109, 95, 122, 144, 80}));
  EXPECT_EQ(resize_bilinear(a, 2, 3).pixels, (Bytes{86, 108, 119, 97, 119, 96}));
  EXPECT_EQ(resize_bilinear(a, 8, 10).pixels,
            (Bytes{0,   20,  65,  142, 102, 78,  84,  138, 110, 52,  40,  63,  84,  87,  118, 137,
                   141, 121, 119, 126, 92,  120, 110, 19,  131, 201, 204, 100, 129, 211, 103, 135,
                   131, 45,  59,  78,  95,  109, 112, 110, 90,  127, 129, 48,  68,  65,  40,  115,
                   107, 67,  55,  96,  104, 28,  158, 160, 37,  118, 116, 80,  121, 88,  72,  104,
                   163, 171, 130, 115, 83,  51,  176, 84,  50,  164, 160, 172, 202, 113, 57,  28}));
  EXPECT_EQ(resize_bilinear(a, 2, 7).pixels,
            (Bytes{64, 114, 64, 122, 126, 112, 124, 106, 100, 76, 160, 97, 120, 66}));
  EXPECT_EQ(resize_bilinear(a, 1, 1).pixels, (Bytes{104}));
  EXPECT_EQ(resize_bilinear(a, 5, 7).pixels, a.pixels);

  Image b{6, 4, 3, {}};
  for (int y = 0; y < 6; ++y)
    for (int x = 0; x < 4; ++x)
      for (int c = 0; c < 3; ++c)
        b.pixels.push_back(static_cast<uint8_t>(50 * x + 31 * y + 80 * c + 7 * x * y * c));
  EXPECT_EQ(resize_bilinear(b, 3, 2).pixels,
            (Bytes{58, 136, 173, 136, 150, 95, 114, 160, 152, 178, 102, 126, 169, 139, 115, 153, 145, 132}));
}

TEST(Resize, FlatImagesStayFlat) {
  for (uint8_t value : {0, 1, 127, 254, 255}) {
    const Image flat{61, 97, 3, Bytes(61 * 97 * 3, value)};
    for (const auto& [h, w] : {std::pair{7, 5}, {1, 1}, {200, 300}, {61, 13}, {13, 97}}) {
      const Image out = resize_bilinear(flat, h, w);
      EXPECT_EQ(out.pixels, Bytes(static_cast<size_t>(h * w * 3), value)) << h << "x" << w;
    }
  }
}

TEST(Resize, CoversAndKeepsProportions) {
  const auto covered = [](int h, int w, int to_h, int to_w) {
    const Image p = resize_to_cover({h, w, 1, Bytes(static_cast<size_t>(h * w))}, to_h, to_w);
    return std::pair(p.height, p.width);
  };
  EXPECT_EQ(covered(100, 200, 32, 32), std::pair(32, 64));
  EXPECT_EQ(covered(200, 100, 32, 32), std::pair(64, 32));
  EXPECT_EQ(covered(100, 133, 32, 32), std::pair(32, 42));  // 42.56, rounded down as torchvision
  EXPECT_EQ(covered(133, 100, 32, 32), std::pair(42, 32));
  EXPECT_EQ(covered(10, 10, 32, 32), std::pair(32, 32));
  EXPECT_EQ(covered(1, 300, 8, 8), std::pair(8, 2400));
  EXPECT_EQ(covered(100, 100, 32, 48), std::pair(48, 48));
  EXPECT_EQ(covered(100, 200, 32, 48), std::pair(32, 64));
  EXPECT_EQ(covered(101, 151, 64, 96), std::pair(64, 96));
  for (int h = 1; h < 60; h += 7)
    for (int w = 1; w < 60; w += 5) {
      const auto [got_h, got_w] = covered(h, w, 24, 40);
      EXPECT_TRUE(got_h >= 24 && got_w >= 40 && (got_h == 24 || got_w == 40)) << h << "x" << w;
    }
}

TEST(Resize, CentreIsTorchvisions) {  // int(round(spare / 2)), and Python rounds a half to even
  const int expected[] = {0, 0, 1, 2, 2, 2, 3, 4, 4, 4};
  for (int spare = 0; spare < 10; ++spare) EXPECT_EQ(centre_offset(20 + spare, 20), expected[spare]) << spare;
}

TEST(Resize, WindowsAndMirrors) {
  Image p{3, 4, 3, Bytes(36)};
  for (size_t i = 0; i < 36; ++i) p.pixels[i] = static_cast<uint8_t>(i);
  Bytes out(2 * 2 * 3);
  copy_window(p, 1, 2, 2, 2, false, out.data());
  EXPECT_EQ(out, (Bytes{18, 19, 20, 21, 22, 23, 30, 31, 32, 33, 34, 35}));
  copy_window(p, 1, 2, 2, 2, true, out.data());
  EXPECT_EQ(out, (Bytes{21, 22, 23, 18, 19, 20, 33, 34, 35, 30, 31, 32}));
  test::expect_error(Fault::kFailure, {"window"}, [&] { copy_window(p, 2, 2, 2, 2, false, out.data()); });
}

TEST(Resize, GreyAndColour) {
  const Image grey{1, 2, 1, {7, 200}};
  EXPECT_EQ(with_channels(grey, 3).pixels, (Bytes{7, 7, 7, 200, 200, 200}));
  EXPECT_EQ(with_channels(grey, 1).pixels, grey.pixels);
  // Pillow's convert("L"): red 76, green 150 (149.685 rounded), blue 29, white 255
  const Image colour{1, 5, 3, {255, 0, 0, 0, 255, 0, 0, 0, 255, 255, 255, 255, 10, 20, 30}};
  EXPECT_EQ(with_channels(colour, 1).pixels, (Bytes{76, 150, 29, 255, 18}));
  for (int v = 0; v < 256; ++v) {
    const uint8_t value = static_cast<uint8_t>(v);
    EXPECT_EQ(with_channels({1, 1, 3, {value, value, value}}, 1).pixels[0], value);
  }
}

}  // namespace
}  // namespace imago
