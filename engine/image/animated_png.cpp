#include "engine/image/animated_png.h"

#include <array>

#include "engine/image/png.h"
#include "kernels/error.h"

namespace imago {
namespace {

// CRC-32 as PNG has it (ISO 3309).
uint32_t crc32(std::string_view bytes) {
  static const std::array<uint32_t, 256> table = [] {
    std::array<uint32_t, 256> t{};
    for (uint32_t n = 0; n < 256; ++n) {
      uint32_t c = n;
      for (int k = 0; k < 8; ++k) c = c & 1 ? 0xedb88320u ^ (c >> 1) : c >> 1;
      t[n] = c;
    }
    return t;
  }();
  uint32_t c = 0xffffffffu;
  for (const char byte : bytes) c = table[(c ^ static_cast<uint8_t>(byte)) & 0xff] ^ (c >> 8);
  return ~c;
}

std::string big_endian(uint32_t value, int bytes = 4) {
  std::string text;
  for (int shift = 8 * (bytes - 1); shift >= 0; shift -= 8) text += static_cast<char>(value >> shift & 0xff);
  return text;
}

std::string chunk(const std::string& type, std::string_view data) {
  const std::string body = type + std::string(data);
  return big_endian(static_cast<uint32_t>(data.size())) + body + big_endian(crc32(body));
}

struct PngParts {
  std::string header;  // of IHDR
  std::string data;    // of all IDAT
};

// What an encoder of still images wrote.
PngParts parts_of(const std::string& png) {
  PngParts parts;
  const auto number = [&](size_t at) {
    uint32_t value = 0;
    for (size_t i = 0; i < 4; ++i) value = value << 8 | static_cast<uint8_t>(png[at + i]);
    return value;
  };
  for (size_t at = 8; at + 12 <= png.size(); at += 12 + number(at)) {
    const std::string type = png.substr(at + 4, 4), data = png.substr(at + 8, number(at));
    if (type == "IHDR") parts.header = data;
    if (type == "IDAT") parts.data += data;
  }
  return parts;
}

// fcTL: the whole picture, for a time, over what was there before.
std::string frame_control(uint32_t sequence, const Image& frame, int milliseconds) {
  return chunk("fcTL", big_endian(sequence) + big_endian(static_cast<uint32_t>(frame.width)) +
                           big_endian(static_cast<uint32_t>(frame.height)) + big_endian(0) + big_endian(0) +
                           big_endian(static_cast<uint32_t>(milliseconds), 2) + big_endian(1000, 2) +
                           std::string(2, '\0'));
}

}  // namespace

std::string encode_animated_png(std::span<const Image> frames, std::span<const int> milliseconds) {
  check(!frames.empty() && frames.size() == milliseconds.size(), "encode_animated_png: ", frames.size(),
        " frames, ", milliseconds.size(), " times");
  std::string file = "\x89PNG\r\n\x1a\n";
  uint32_t sequence = 0;
  for (size_t i = 0; i < frames.size(); ++i) {
    const Image& f = frames[i];
    check(f.height == frames[0].height && f.width == frames[0].width && f.channels == frames[0].channels,
          "encode_animated_png: frames of several sizes");
    const PngParts png = parts_of(encode_png(f.pixels, f.height, f.width, f.channels));
    if (i == 0)
      file += chunk("IHDR", png.header) +
              chunk("acTL", big_endian(static_cast<uint32_t>(frames.size())) + big_endian(0));
    file += frame_control(sequence++, f, milliseconds[i]);
    file += i == 0 ? chunk("IDAT", png.data) : chunk("fdAT", big_endian(sequence++) + png.data);
  }
  return file + chunk("IEND", "");
}

}  // namespace imago
