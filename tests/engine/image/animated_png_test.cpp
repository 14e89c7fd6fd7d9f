// Animated PNG: its chunks are in order, and each frame is found again.
#include "engine/image/animated_png.h"

#include <gtest/gtest.h>

#include "engine/image/decode.h"
#include "kernels/error.h"

namespace imago {
namespace {

struct Chunk {
  std::string type, data;
};

uint32_t number_at(const std::string& bytes, size_t at) {
  uint32_t value = 0;
  for (size_t i = 0; i < 4; ++i) value = value << 8 | static_cast<uint8_t>(bytes[at + i]);
  return value;
}

std::vector<Chunk> chunks_of(const std::string& file) {
  std::vector<Chunk> chunks;
  for (size_t at = 8; at + 12 <= file.size(); at += 12 + number_at(file, at))
    chunks.push_back({file.substr(at + 4, 4), file.substr(at + 8, number_at(file, at))});
  return chunks;
}

Image frame(uint8_t level) {
  Image p{3, 5, 3, {}};
  for (int i = 0; i < 3 * 5 * 3; ++i) p.pixels.push_back(static_cast<uint8_t>(level + i));
  return p;
}

TEST(AnimatedPng, ChunksAreInOrder) {
  const std::vector<Image> frames = {frame(0), frame(60), frame(120)};
  const std::vector<Chunk> chunks = chunks_of(encode_animated_png(frames, std::vector<int>{40, 50, 1500}));
  std::string types;
  for (const Chunk& c : chunks) types += c.type + " ";
  EXPECT_EQ(types, "IHDR acTL fcTL IDAT fcTL fdAT fcTL fdAT IEND ");
  EXPECT_EQ(number_at(chunks[1].data, 0), 3u);  // frames
  EXPECT_EQ(number_at(chunks[1].data, 4), 0u);  // for ever
  uint32_t sequence = 0;
  for (const Chunk& c : chunks) {
    if (c.type == "fcTL" || c.type == "fdAT") {
      EXPECT_EQ(number_at(c.data, 0), sequence++);
    }
    if (c.type == "fcTL") {
      EXPECT_EQ(number_at(c.data, 4), 5u);
      EXPECT_EQ(number_at(c.data, 8), 3u);
    }
  }
  EXPECT_EQ(chunks[6].data.substr(20, 4), std::string("\x05\xdc\x03\xe8", 4));  // 1500 / 1000 s
}

// The decoder checks the checksums: the first frame is what a reader of still images sees; the second, once
// its data stands in a PNG of its own place, decodes to its pixels. (An IDAT's checksum covers its type, so
// the data is carried over by a frame that is encoded first.)
TEST(AnimatedPng, FramesAreFoundAgain) {
  const std::vector<Image> frames = {frame(0), frame(60)};
  const std::string file = encode_animated_png(frames, std::vector<int>{40, 40});
  EXPECT_EQ(decode_image(file, "a.png").pixels, frames[0].pixels);
  const std::string second_first = encode_animated_png(std::vector<Image>{frame(60)}, std::vector<int>{40});
  EXPECT_EQ(decode_image(second_first, "b.png").pixels, frames[1].pixels);
  EXPECT_EQ(chunks_of(file)[5].data.substr(4), chunks_of(second_first)[3].data);
}

TEST(AnimatedPng, RefusesFramesOfSeveralSizes) {
  const std::vector<Image> frames = {frame(0), Image{1, 1, 3, {1, 2, 3}}};
  EXPECT_THROW(encode_animated_png(frames, std::vector<int>{1, 1}), Error);
  EXPECT_THROW(encode_animated_png({}, {}), Error);
}

}  // namespace
}  // namespace imago
