#include "engine/image/image_scan.h"

#include <zlib.h>

namespace imago {
namespace {

constexpr std::string_view kPngSignature("\x89PNG\r\n\x1a\n", 8);

// An unsigned number of `size` bytes; the caller has checked that they are there.
uint32_t number(std::string_view bytes, size_t at, int size, bool big_endian = true) {
  uint32_t value = 0;
  for (int i = 0; i < size; ++i) {
    const size_t from = at + static_cast<size_t>(big_endian ? i : size - 1 - i);
    value = value << 8 | static_cast<uint8_t>(bytes[from]);
  }
  return value;
}

// EXIF is a TIFF file: byte order, 42, place of the first directory; a directory is a count and entries of 12
// bytes (tag, type, count, value). Orientation is tag 0x112 of the first directory. Anything odd counts as
// "as stored".
int exif_orientation(std::string_view tiff) {
  if (tiff.size() < 8) return 1;
  const bool big = tiff.starts_with("MM");
  if (!big && !tiff.starts_with("II")) return 1;
  if (number(tiff, 2, 2, big) != 42) return 1;
  const size_t directory = number(tiff, 4, 4, big);
  if (directory + 2 > tiff.size()) return 1;
  const size_t count = number(tiff, directory, 2, big);
  for (size_t i = 0, at = directory + 2; i < count && at + 12 <= tiff.size(); ++i, at += 12) {
    if (number(tiff, at, 2, big) != 0x112) continue;
    const uint32_t value = number(tiff, at + 8, 2, big);
    return value >= 1 && value <= 8 ? static_cast<int>(value) : 1;
  }
  return 1;
}

// Signature, then chunks: length, type, data, checksum of type and data.
ImageScan scan_png(std::string_view bytes) {
  ImageScan scan{ImageFormat::kPng, "truncated PNG", 1};
  for (size_t at = kPngSignature.size(); bytes.size() - at >= 12;) {
    const size_t length = number(bytes, at, 4);
    if (length > bytes.size() - at - 12) return scan;
    const std::string_view type = bytes.substr(at + 4, 4), data = bytes.substr(at + 8, length);
    const auto* checked = reinterpret_cast<const Bytef*>(type.data());
    if (crc32(0, checked, static_cast<uInt>(4 + length)) != number(bytes, at + 8 + length, 4)) {
      scan.problem = "corrupt PNG (checksum)";
      return scan;
    }
    if (type == "eXIf") scan.orientation = exif_orientation(data);
    if (type == "IEND") {
      scan.problem.clear();
      return scan;
    }
    at += 12 + length;
  }
  return scan;
}

// Tables in a row: a byte, the number of codes of each of 16 lengths, then a byte for each code. There are at
// most 256 codes; stb_image takes more and writes them behind its tables.
bool huffman_tables_fit(std::string_view tables) {
  constexpr size_t kHeader = 17, kMostCodes = 256;
  while (!tables.empty()) {
    if (tables.size() < kHeader) return false;
    size_t codes = 0;
    for (const char count : tables.substr(1, kHeader - 1)) codes += static_cast<uint8_t>(count);
    if (codes > kMostCodes || codes > tables.size() - kHeader) return false;
    tables.remove_prefix(kHeader + codes);
  }
  return true;
}

// After a start-of-scan segment comes coded data, in which 0xff is followed by 0 or a restart marker. Returns
// the place of the first 0xff that is neither, or npos.
size_t end_of_coded_data(std::string_view bytes, size_t at) {
  for (; (at = bytes.find('\xff', at)) != bytes.npos; ++at) {
    if (at + 1 == bytes.size()) return bytes.npos;
    const uint8_t next = static_cast<uint8_t>(bytes[at + 1]);
    if (next != 0 && next != 0xff && (next < 0xd0 || next > 0xd7)) return at;
  }
  return bytes.npos;
}

// Segments: 0xff, marker, length (counting itself), content. 0xd9 ends the image.
ImageScan scan_jpeg(std::string_view bytes) {
  ImageScan scan{ImageFormat::kJpeg, "truncated JPEG", 1};
  bool seen_exif = false;
  for (size_t at = 2; (at = bytes.find('\xff', at)) != bytes.npos && at + 1 < bytes.size();) {
    const uint8_t marker = static_cast<uint8_t>(bytes[at + 1]);
    if (marker == 0xd9) {
      scan.problem.clear();
      return scan;
    }
    if (marker == 0xff) {  // fill byte
      ++at;
      continue;
    }
    at += 2;
    if (marker == 0 || marker == 1 || (marker >= 0xd0 && marker <= 0xd8)) continue;
    if (bytes.size() - at < 2) break;
    const size_t length = number(bytes, at, 2);
    if (length < 2 || length > bytes.size() - at) break;
    const std::string_view content = bytes.substr(at + 2, length - 2);
    constexpr std::string_view kExif("Exif\0\0", 6);
    if (marker == 0xe1 && !seen_exif && content.starts_with(kExif)) {
      scan.orientation = exif_orientation(content.substr(kExif.size()));
      seen_exif = true;
    }
    if (marker == 0xc4 && !huffman_tables_fit(content)) {
      scan.problem = "corrupt JPEG (Huffman tables)";
      return scan;
    }
    at += length;
    if (marker == 0xda && (at = end_of_coded_data(bytes, at)) == bytes.npos) break;
  }
  return scan;
}

// "RIFF", size of what follows, "WEBP", then chunks: type, size, data, a byte of padding if the size is odd.
// Numbers are little-endian. Source: https://developers.google.com/speed/webp/docs/riff_container
ImageScan scan_webp(std::string_view bytes) {
  ImageScan scan{ImageFormat::kWebp, "truncated WebP", 1};
  if (webp_size(bytes) > bytes.size()) return scan;
  const size_t end = webp_size(bytes);
  for (size_t at = 12; at < end;) {
    if (end - at < 8) return scan;
    const std::string_view type = bytes.substr(at, 4);
    const size_t length = number(bytes, at + 4, 4, false);
    at += 8;
    if (length > end - at) return scan;
    if (type == "ANIM") {
      scan.problem = "an animated WebP; expected a single image";
      return scan;
    }
    if (type == "EXIF") {
      std::string_view tiff = bytes.substr(at, length);
      constexpr std::string_view kExif("Exif\0\0", 6);  // some writers put it here as in a JPEG
      if (tiff.starts_with(kExif)) tiff.remove_prefix(kExif.size());
      scan.orientation = exif_orientation(tiff);
    }
    at += length + length % 2;
  }
  scan.problem.clear();
  return scan;
}

}  // namespace

uint64_t webp_size(std::string_view bytes) {
  return uint64_t{8} + number(bytes, 4, 4, false);
}

ImageFormat image_format(std::string_view bytes) {
  if (bytes.starts_with(kPngSignature)) return ImageFormat::kPng;
  if (bytes.starts_with("\xff\xd8\xff")) return ImageFormat::kJpeg;
  if (bytes.size() >= 12 && bytes.starts_with("RIFF") && bytes.substr(8, 4) == "WEBP")
    return ImageFormat::kWebp;
  return ImageFormat::kUnknown;
}

ImageScan scan_image(std::string_view bytes) {
  switch (image_format(bytes)) {
    case ImageFormat::kPng: return scan_png(bytes);
    case ImageFormat::kJpeg: return scan_jpeg(bytes);
    case ImageFormat::kWebp: return scan_webp(bytes);
    case ImageFormat::kUnknown: break;
  }
  return {ImageFormat::kUnknown, bytes.empty() ? "empty file" : kNoImageFormat, 1};
}

}  // namespace imago
