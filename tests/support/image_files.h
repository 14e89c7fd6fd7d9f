// Makes image files of every kind for the tests, with zlib and stb_image_write.
#pragma once

#include <stb_image_write.h>
#include <zlib.h>

#include <cstdint>
#include <string>
#include <vector>

namespace imago::test {

inline std::string big_endian(uint32_t value, int size) {
  std::string s;
  for (int i = size - 1; i >= 0; --i) s.push_back(static_cast<char>(value >> 8 * i));
  return s;
}

inline std::string png_chunk(const std::string& type, const std::string& data) {
  const std::string checked = type + data;
  const auto crc =
      crc32(0, reinterpret_cast<const Bytef*>(checked.data()), static_cast<uInt>(checked.size()));
  return big_endian(static_cast<uint32_t>(data.size()), 4) + checked +
         big_endian(static_cast<uint32_t>(crc), 4);
}

/// rows: the packed samples of each row, most significant bit first. colour: 0 grey, 2 RGB, 3 palette, 4 grey
/// + alpha, 6 RGBA. extra: chunks between header and data.
inline std::string make_png(int width, int bits, int colour, const std::vector<std::string>& rows,
                            const std::string& extra = "") {
  std::string raw;
  for (const std::string& row : rows) raw += '\0' + row;  // filter 0
  uLongf bound = compressBound(static_cast<uLong>(raw.size()));
  std::string packed(bound, '\0');
  compress(reinterpret_cast<Bytef*>(packed.data()), &bound, reinterpret_cast<const Bytef*>(raw.data()),
           static_cast<uLong>(raw.size()));
  packed.resize(bound);
  std::string header = big_endian(static_cast<uint32_t>(width), 4) +
                       big_endian(static_cast<uint32_t>(rows.size()), 4) + std::string(5, '\0');
  header[8] = static_cast<char>(bits);
  header[9] = static_cast<char>(colour);
  return std::string("\x89PNG\r\n\x1a\n", 8) + png_chunk("IHDR", header) + extra + png_chunk("IDAT", packed) +
         png_chunk("IEND", "");
}

/// A baseline JPEG. pixels [H,W,C].
inline std::string make_jpeg(int height, int width, int channels, const std::vector<uint8_t>& pixels) {
  std::string file;
  const auto append = [](void* out, void* data, int size) {
    static_cast<std::string*>(out)->append(static_cast<const char*>(data), static_cast<size_t>(size));
  };
  stbi_write_jpg_to_func(append, &file, width, height, channels, pixels.data(), 95);
  return file;
}

/// A TIFF block with nothing but an orientation, and a JPEG with it put in behind the first marker.
inline std::string exif_block(int orientation, bool big = true) {
  const auto n = [&](uint32_t value, int size) {
    std::string s = big_endian(value, size);
    return big ? s : std::string(s.rbegin(), s.rend());
  };
  return std::string(big ? "MM" : "II") + n(42, 2) + n(8, 4) + n(1, 2) + n(0x112, 2) + n(3, 2) + n(1, 4) +
         n(static_cast<uint32_t>(orientation), 2) + n(0, 2) + n(0, 4);
}
inline std::string with_exif(const std::string& jpeg, const std::string& tiff) {
  const std::string content = std::string("Exif\0\0", 6) + tiff;
  return jpeg.substr(0, 2) + "\xff\xe1" + big_endian(static_cast<uint32_t>(content.size() + 2), 2) + content +
         jpeg.substr(2);
}

/// A smooth test image [H,W,C], different for each `kind`.
inline std::vector<uint8_t> gradient(int height, int width, int channels, int kind = 0) {
  std::vector<uint8_t> pixels;
  for (int y = 0; y < height; ++y)
    for (int x = 0; x < width; ++x)
      for (int c = 0; c < channels; ++c)
        pixels.push_back(static_cast<uint8_t>(100 * y / height + 40 * x / width * (c + 1) + 7 * (kind % 5)));
  return pixels;
}

inline std::string rgb_png(int height, int width, int kind = 0) {
  const auto pixels = gradient(height, width, 3, kind);
  std::vector<std::string> rows;
  for (int y = 0; y < height; ++y)
    rows.emplace_back(pixels.begin() + y * width * 3, pixels.begin() + (y + 1) * width * 3);
  return make_png(width, 8, 2, rows);
}

inline void gzip(const std::string& path, const std::string& content) {
  gzFile file = gzopen(path.c_str(), "wb");
  gzwrite(file, content.data(), static_cast<unsigned>(content.size()));
  gzclose(file);
}

}  // namespace imago::test
