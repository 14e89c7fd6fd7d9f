// Every kind of PNG, JPEG and WebP that people have, and what is left of them when cut or damaged.
#include "engine/image/decode.h"

#include <algorithm>
#include <cstdlib>

#include "tests/support/image_files.h"
#include "tests/support/temp_folder.h"

namespace imago {
namespace {

using namespace test;
using Bytes = std::vector<uint8_t>;

Bytes pixels_of(const std::string& file) {
  return decode_image(file, "test").pixels;
}

TEST(Decode, GreyPaletteAndColour) {
  const Image grey = decode_image(make_png(2, 8, 0, {"\x01\x80", "\xff\x07"}), "grey");
  EXPECT_EQ(grey.channels, 1);
  EXPECT_EQ(grey.height, 2);
  EXPECT_EQ(grey.pixels, (Bytes{1, 128, 255, 7}));
  EXPECT_EQ(pixels_of(make_png(8, 1, 0, {"\xa1"})),
            (Bytes{255, 0, 255, 0, 0, 0, 0, 255}));  // black and white
  EXPECT_EQ(pixels_of(make_png(4, 2, 0, {"\x1b"})), (Bytes{0, 85, 170, 255}));
  const Image colour = decode_image(make_png(2, 8, 2, {"abcdef"}), "colour");
  EXPECT_EQ(colour.channels, 3);
  EXPECT_EQ(colour.pixels, (Bytes{'a', 'b', 'c', 'd', 'e', 'f'}));
  const std::string palette = png_chunk("PLTE", std::string("\x0a\x14\x1e\xc8\x00\x64", 6));
  EXPECT_EQ(pixels_of(make_png(2, 4, 3, {"\x10"}, palette)), (Bytes{200, 0, 100, 10, 20, 30}));
}

TEST(Decode, TransparencyLiesOverWhite) {  // (c a + 255 (255 - a)) / 255, rounded
  EXPECT_EQ(
      pixels_of(make_png(3, 8, 6, {std::string("\x64\x0a\xfa\xff\x64\x0a\xfa\x00\x64\x0a\xfa\x80", 12)})),
      (Bytes{100, 10, 250, 255, 255, 255, 177, 132, 252}));
  const Image grey = decode_image(make_png(3, 8, 4, {std::string("\x64\xff\x64\x00\x64\x80", 6)}), "grey");
  EXPECT_EQ(grey.channels, 1);
  EXPECT_EQ(grey.pixels, (Bytes{100, 255, 177}));
  // A grey value, or a colour, that is transparent wherever it stands.
  const std::string grey_key = png_chunk("tRNS", std::string("\x00\x64", 2));
  EXPECT_EQ(pixels_of(make_png(3, 8, 0, {std::string("\x64\x01\xff", 3)}, grey_key)), (Bytes{255, 1, 255}));
  EXPECT_EQ(pixels_of(make_png(2, 16, 0, {std::string("\x00\x64\x01\x01", 4)}, grey_key)), (Bytes{255, 1}));
  const std::string colour_key = png_chunk("tRNS", std::string("\x00\x01\x00\x02\x00\x03", 6));
  EXPECT_EQ(pixels_of(make_png(2, 8, 2, {std::string("\x01\x02\x03\x01\x02\x04", 6)}, colour_key)),
            (Bytes{255, 255, 255, 1, 2, 4}));
  const std::string palette = png_chunk("PLTE", std::string("\x0a\x14\x1e\xc8\x00\x64", 6)) +
                              png_chunk("tRNS", std::string("\x00\xff", 2));
  EXPECT_EQ(pixels_of(make_png(2, 4, 3, {"\x10"}, palette)), (Bytes{200, 0, 100, 255, 255, 255}));
}

TEST(Decode, SixteenBitsAreRounded) {  // v / 257: 127 / 257 is below one half, 129 / 257 above
  EXPECT_EQ(pixels_of(make_png(4, 16, 0, {std::string("\x00\x7f\x00\x81\xff\xff\x80\x00", 8)})),
            (Bytes{0, 1, 255, 128}));
  EXPECT_EQ(pixels_of(make_png(1, 16, 2, {std::string("\x01\x00\x00\x00\xfe\xff", 6)})), (Bytes{1, 0, 254}));
  EXPECT_EQ(pixels_of(make_png(1, 16, 6, {std::string("\x00\x00\xff\xff\x80\x00\x00\x00", 8)})),
            (Bytes{255, 255, 255}));
  EXPECT_EQ(pixels_of(make_png(2, 16, 4, {std::string("\x00\x81\xff\xff\x00\x00\x00\x00", 8)})),
            (Bytes{1, 255}));
}

void expect_close(const Bytes& got, const Bytes& expected, int tolerance) {
  ASSERT_EQ(got.size(), expected.size());
  for (size_t i = 0; i < got.size(); ++i) EXPECT_NEAR(got[i], expected[i], tolerance) << i;
}

TEST(Decode, Jpeg) {
  // Quality 95: stb's quantisation steps are at most 12 (luma) and 10 (chroma); errors are half of that.
  const Bytes grey = gradient(16, 24, 1), colour = gradient(16, 24, 3);
  const Image decoded = decode_image(make_jpeg(16, 24, 3, colour), "colour");
  EXPECT_EQ(decoded.height, 16);
  EXPECT_EQ(decoded.width, 24);
  expect_close(decoded.pixels, colour, 6);
  // stb writes grey as colour with equal channels
  Bytes one;
  const Bytes three = pixels_of(make_jpeg(16, 24, 1, grey));
  for (size_t i = 0; i < three.size(); i += 3) one.push_back(three[i]);
  expect_close(one, grey, 6);
}

// The image (30 x, 30 y, 15 (x + y)) as Pillow writes it with quality 90, progressive, no subsampling.
const char kProgressive[] =
    "ffd8ffe000104a46494600010100000100010000ffdb0043000302020302020303030304030304050805050404050a070706"
    "080c0a0c0c0b0a0b0b0d0e12100d0e110e0b0b1016101113141515150c0f171816141812141514ffdb004301030404050405"
    "09050509140d0b0d141414141414141414141414141414141414141414141414141414141414141414141414141414141414"
    "1414141414141414ffc20011080008000803011100021101031101ffc40014000100000000000000000000000000000005ff"
    "c40014010100000000000000000000000000000000ffda000c0301000210031000000100ffc4001610000300000000000000"
    "00000000000000000506ffda00080101000105024f267fffc40017110100030000000000000000000000000005002131ffda"
    "0008010301013f0101fcb9ffc4001511010100000000000000000000000000000300ffda0008010201013f0125bfffc40016"
    "1000030000000000000000000000000000000122ffda0008010100063f02507fffc400151001010000000000000000000000"
    "00000000f1ffda0008010100013f2184ffda000c030100020003000000109fffc40014110100000000000000000000000000"
    "000000ffda0008010301013f107fffc400161100030000000000000000000000000000002131ffda0008010201013f109b3f"
    "ffc40015100101000000000000000000000000000000a1ffda0008010100013f10947fffd9";

std::string from_hex(const std::string& hex) {
  std::string bytes;
  for (size_t i = 0; i + 1 < hex.size(); i += 2)
    bytes.push_back(static_cast<char>(std::stoi(hex.substr(i, 2), nullptr, 16)));
  return bytes;
}

TEST(Decode, ProgressiveJpeg) {
  // The corners as libjpeg gives them; decoders may differ by their inverse transform.
  const Bytes p = pixels_of(from_hex(kProgressive));
  ASSERT_EQ(p.size(), 8u * 8 * 3);
  const auto corner = [&](size_t y, size_t x) { return Bytes(&p[(y * 8 + x) * 3], &p[(y * 8 + x) * 3 + 3]); };
  expect_close(corner(0, 0), {0, 0, 0}, 2);
  expect_close(corner(0, 7), {208, 1, 107}, 2);
  expect_close(corner(7, 0), {2, 209, 103}, 2);
  expect_close(corner(7, 7), {210, 210, 210}, 2);
}

// (60 x, 60 y, 15 (x + y)) in 4x4 pixels, as Pillow writes it without loss; opaque, with alpha 0 in (0,0) and
// 128 in (y, x) = (1, 2), with EXIF orientation 6, and as the first frame of an animation.
const char kWebp[] =
    "5249464642000000574542505650384c350000002f03c000007f20102084c9972662780402c906f9636e30ff6d40851024cb"
    "32729081200022ce8103073e1d38702025a2ffe16b2c0200";
const char kWebpAlpha[] =
    "5249464650000000574542505650384c440000002f03c000107f40906d53b0011eec90028124b0f10723c8b6b941fdb94e32"
    "030141d175cb051387202e978b10213841ec0782008838070e1cc87161c0929f88fe87a37238";
const char kWebpTurned[] =
    "524946467600000057454250565038580a000000080000000300000300005650384c350000002f03c000007f20102084c997"
    "2662780402c906f9636e30ff6d40851024cb32729081200022ce8103073e1d38702025a2ffe16b2c0200455849461a000000"
    "4d4d002a00000008000101120003000000010006000000000000";
const char kWebpAnimated[] =
    "52494646d600000057454250565038580a00000002000000030000030000414e494d06000000000000000000414e4d464c00"
    "0000000000000000030000030000000000025650384c340000002f03c000007f40906d33b022dc1fe90cc323104836c85f6f"
    "92f92f420a00bb77004100c49a050b164c5ab060c14844ff0361351f414e4d46560000000000000000000300000300000000"
    "00005650384c3d0000002f03c000007f40906d235683dd1fe90c02811407b6c1028104217f80c52699ff22740160ed1da020"
    "920dea7d5450410525555041053523fa1fdf579b1300";
// The image (12 x, 12 y, 6 (x + y)) in 16x16 pixels, with loss, quality 90.
const char kWebpLossy[] =
    "524946465600000057454250565038204a0000007002009d012a1000100000c01225b00274ba00f800036e3d46d749c000fe"
    "fff3800b0dd4fe994ba652c4b8b69e0beab153b06a98c5a0d4c05ffeb8cffdca1a60ffef4cf7595fc4500000";

TEST(Decode, Webp) {
  Bytes rgb;
  for (int y = 0; y < 4; ++y)
    for (int x = 0; x < 4; ++x)
      for (int v : {60 * x, 60 * y, 15 * (x + y)}) rgb.push_back(static_cast<uint8_t>(v));
  const Image image = decode_image(from_hex(kWebp), "a.webp");
  EXPECT_EQ(image.height, 4);
  EXPECT_EQ(image.channels, 3);
  EXPECT_EQ(image.pixels, rgb);

  Bytes over_white = rgb;
  for (size_t c = 0; c < 3; ++c) {
    over_white[c] = 255;
    uint8_t& half = over_white[(1 * 4 + 2) * 3 + c];
    half = static_cast<uint8_t>((half * 128 + 255 * 127 + 127) / 255);
  }
  EXPECT_EQ(pixels_of(from_hex(kWebpAlpha)), over_white);

  const Image turned = decode_image(from_hex(kWebpTurned), "turned");
  for (size_t y = 0; y < 4; ++y)
    for (size_t x = 0; x < 4; ++x)
      for (size_t c = 0; c < 3; ++c)
        EXPECT_EQ(turned.pixels[(y * 4 + x) * 3 + c], rgb[((3 - x) * 4 + y) * 3 + c]) << y << " " << x;

  // The corners as Pillow reads them; colours are stored at half the resolution.
  const Bytes p = pixels_of(from_hex(kWebpLossy));
  ASSERT_EQ(p.size(), 16u * 16 * 3);
  const auto corner = [&](size_t y, size_t x) {
    return Bytes(&p[(y * 16 + x) * 3], &p[(y * 16 + x) * 3 + 3]);
  };
  expect_close(corner(0, 0), {3, 3, 3}, 1);
  expect_close(corner(0, 15), {172, 5, 93}, 1);
  expect_close(corner(15, 0), {4, 177, 91}, 1);
  expect_close(corner(15, 15), {171, 178, 176}, 1);
  expect_bad_input({"a.webp: an animated WebP"}, [&] { decode_image(from_hex(kWebpAnimated), "a.webp"); });
}

TEST(Decode, RandomDamageToAWebpIsDecodedOrRefused) {
  uint32_t state = 1;  // fixed
  const auto random = [&](size_t bound) { return ((state = state * 1664525u + 1013904223u) >> 8) % bound; };
  int refused = 0;
  for (const char* hex : {kWebp, kWebpAlpha, kWebpTurned, kWebpLossy})
    for (int round = 0; round < 300; ++round) {
      std::string bad = from_hex(hex);
      for (int i = 0; i < 3; ++i) bad[12 + random(bad.size() - 12)] = static_cast<char>(random(256));
      try {
        const Image p = decode_image(bad, "bad.webp");
        EXPECT_EQ(p.pixels.size(), static_cast<size_t>(p.height) * static_cast<size_t>(p.width * p.channels));
      } catch (const Error& e) {
        EXPECT_EQ(e.fault, Fault::kBadInput);
        ++refused;
      }
    }
  EXPECT_GT(refused, 200);
}

TEST(Decode, ExifOrientation) {
  // A 2-pixel-high, 3-pixel-wide image  0 1 2 / 3 4 5  as a PNG, which is exact.
  const std::string row0 = "\x10\x20\x30", row1 = "\x40\x50\x60";
  const std::vector<Bytes> expected = {
      {0x10, 0x20, 0x30, 0x40, 0x50, 0x60}, {0x30, 0x20, 0x10, 0x60, 0x50, 0x40},
      {0x60, 0x50, 0x40, 0x30, 0x20, 0x10}, {0x40, 0x50, 0x60, 0x10, 0x20, 0x30},
      {0x10, 0x40, 0x20, 0x50, 0x30, 0x60}, {0x40, 0x10, 0x50, 0x20, 0x60, 0x30},
      {0x60, 0x30, 0x50, 0x20, 0x40, 0x10}, {0x30, 0x60, 0x20, 0x50, 0x10, 0x40}};
  for (int orientation = 1; orientation <= 8; ++orientation) {
    const Image p =
        decode_image(make_png(3, 8, 0, {row0, row1}, png_chunk("eXIf", exif_block(orientation))), "exif");
    EXPECT_EQ(p.height, orientation < 5 ? 2 : 3) << orientation;
    EXPECT_EQ(p.pixels, expected[static_cast<size_t>(orientation - 1)]) << orientation;
  }
  // In a JPEG: the same pixels as without, turned.
  const std::string jpeg = make_jpeg(8, 16, 3, gradient(8, 16, 3));
  const Image plain = decode_image(jpeg, "plain");
  for (bool big : {true, false}) {
    const Image turned = decode_image(with_exif(jpeg, exif_block(6, big)), "turned");
    ASSERT_EQ(turned.height, 16);
    ASSERT_EQ(turned.width, 8);
    for (int y = 0; y < 16; ++y)
      for (int x = 0; x < 8; ++x)
        EXPECT_EQ(turned.pixels[(y * 8 + x) * 3], plain.pixels[((7 - x) * 16 + y) * 3]) << y << " " << x;
  }
  // Nonsense in the block means "as stored".
  for (const std::string& tiff :
       {std::string(), std::string("MM"), exif_block(9), exif_block(6).substr(0, 12),
        std::string("MM\0\x2a\xff\xff\xff\xff", 8), exif_block(0)})
    EXPECT_EQ(pixels_of(with_exif(jpeg, tiff)), plain.pixels);
}

TEST(Decode, EveryTruncationIsNoticed) {
  TempFolder folder;
  const std::string jpeg = make_jpeg(16, 16, 3, gradient(16, 16, 3));
  for (const std::string& file :
       {rgb_png(16, 16), jpeg, with_exif(jpeg, exif_block(3)), from_hex(kWebp), from_hex(kWebpTurned)}) {
    ASSERT_FALSE(decode_image(file, "whole").pixels.empty());
    for (size_t size = 0; size < file.size(); ++size) {
      const std::string cut = file.substr(0, size);
      expect_bad_input({"cut.jpg: "}, [&] { decode_image(cut, "cut.jpg"); });
      if (size % 16 != 0) continue;
      put(folder / "cut", cut);
      EXPECT_NE(image_file_problem(folder / "cut"), "") << size;
    }
    put(folder / "whole", file);
    EXPECT_EQ(image_file_problem(folder / "whole"), "");
    put(folder / "trailing", file + "something after the end");
    EXPECT_EQ(image_file_problem(folder / "trailing"), "");
    EXPECT_EQ(pixels_of(file + "something after the end"), pixels_of(file));
  }
}

TEST(Decode, Damage) {
  std::string png = rgb_png(16, 16);
  png[png.size() - 30] ^= 1;
  expect_bad_input({"a.png: corrupt PNG"}, [&] { decode_image(png, "a.png"); });
  expect_bad_input({"a.png: empty file"}, [&] { decode_image("", "a.png"); });
  expect_bad_input({"a.png: neither PNG, JPEG nor WebP"}, [&] { decode_image("GIF89a.......", "a.png"); });
  // Checksums that fit, content that does not: too few rows, an absurd size.
  const std::string good = make_png(2, 8, 0, {"ab", "cd"});
  std::string header = big_endian(2, 4) + big_endian(9, 4) + std::string("\x08\0\0\0\0", 5);
  std::string lying = good.substr(0, 8) + png_chunk("IHDR", header) + good.substr(33);
  expect_bad_input({"a.png: cannot decode"}, [&] { decode_image(lying, "a.png"); });
  header = big_endian(0x7fffffff, 4) + big_endian(0x7fffffff, 4) + std::string("\x10\6\0\0\0", 5);
  lying = good.substr(0, 8) + png_chunk("IHDR", header) + good.substr(33);
  expect_bad_input({"a.png: cannot decode"}, [&] { decode_image(lying, "a.png"); });
  TempFolder folder;
  expect_bad_input({"cannot read"}, [&] { read_image(folder / "none.png"); });
  EXPECT_NE(image_file_problem(folder / "none.png"), "");
}

TEST(Decode, HuffmanTablesOfAJpegThatHaveTooManyCodes) {
  std::string jpeg = make_jpeg(16, 16, 3, gradient(16, 16, 3));
  const size_t table = jpeg.find("\xff\xc4");
  ASSERT_NE(table, std::string::npos);
  for (const size_t of_length : {size_t{0}, size_t{15}}) {
    std::string bad = jpeg;
    bad[table + 5 + of_length] = '\xff';  // behind marker, length and the table's number
    expect_bad_input({"a.jpg: corrupt JPEG (Huffman tables)"}, [&] { decode_image(bad, "a.jpg"); });
  }
  std::string many = "\xff\xd8\xff\xc4";
  many +=
      big_endian(2 + 17 + 4080, 2) + std::string(1, '\0') + std::string(16, '\xff') + std::string(4080, '\0');
  expect_bad_input({"a.jpg: corrupt JPEG (Huffman tables)"}, [&] { decode_image(many, "a.jpg"); });
}

TEST(Decode, RandomDamageToAJpegIsDecodedOrRefused) {
  const std::string good = make_jpeg(16, 16, 3, gradient(16, 16, 3));
  uint32_t state = 1;  // fixed
  const auto random = [&](size_t bound) { return ((state = state * 1664525u + 1013904223u) >> 8) % bound; };
  int decoded = 0, refused = 0;
  for (int round = 0; round < 500; ++round) {
    std::string bad = good;
    for (int i = 0; i < 3; ++i) bad[2 + random(bad.size() - 4)] = static_cast<char>(random(256));
    try {
      const Image p = decode_image(bad, "bad.jpg");
      EXPECT_EQ(p.pixels.size(), static_cast<size_t>(p.height) * static_cast<size_t>(p.width * p.channels));
      ++decoded;
    } catch (const Error& e) {
      EXPECT_EQ(e.fault, Fault::kBadInput);
      ++refused;
    }
  }
  EXPECT_GT(decoded, 50);
  EXPECT_GT(refused, 50);
}

// 168 bytes that promise 40606x40606 pixels: no memory is taken for them.
TEST(Decode, AFileThatPromisesFarTooManyPixelsIsRefused) {
  const std::filesystem::path file = IMAGO_SOURCE_DIR "/tests/fuzz/seeds/image/promises_too_much.jpg";
  try {
    read_image(file);
    FAIL() << "it was decoded";
  } catch (const Error& e) {
    EXPECT_EQ(e.fault, Fault::kBadInput);
    EXPECT_NE(std::string(e.what()).find("promise 40606x40606 pixels"), std::string::npos) << e.what();
  }
}

}  // namespace
}  // namespace imago
