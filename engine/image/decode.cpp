#include "engine/image/decode.h"

#include <stb_image.h>
#include <webp/decode.h>

#include <algorithm>
#include <climits>
#include <fstream>
#include <memory>

#include "engine/image/image_scan.h"
#include "engine/io/atomic_file.h"
#include "kernels/error.h"

namespace imago {
namespace {

// Samples of 8 or 16 bits, [H,W,C] with C = 1 grey, 2 grey + alpha, 3 RGB, 4 RGBA, to 8 bits without alpha:
// round(255 (c a + max (max - a)) / max^2), which is white where a = 0.
template <class Sample>
Image flatten(const Sample* samples, int height, int width, int components) {
  constexpr uint64_t kMax = static_cast<Sample>(-1);
  const bool alpha = components == 2 || components == 4;
  const int channels = alpha ? components - 1 : components;
  const size_t count = static_cast<size_t>(height) * static_cast<size_t>(width);
  Image image{height, width, channels, std::vector<uint8_t>(count * static_cast<size_t>(channels))};
  uint8_t* out = image.pixels.data();
  for (size_t i = 0; i < count; ++i, samples += components) {
    const uint64_t a = alpha ? samples[channels] : kMax;
    for (int c = 0; c < channels; ++c) {
      const uint64_t over_white = samples[c] * a + kMax * (kMax - a);
      *out++ = static_cast<uint8_t>((over_white * 255 + kMax * kMax / 2) / (kMax * kMax));
    }
  }
  return image;
}

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

struct StbFree {
  void operator()(void* p) const { stbi_image_free(p); }
};

// A PNG or JPEG, as it is stored.
Image decode_with_stb(std::string_view bytes, const std::string& name) {
  const auto* data = reinterpret_cast<const stbi_uc*>(bytes.data());
  const int size = static_cast<int>(bytes.size());
  const bool wide = stbi_is_16_bit_from_memory(data, size) != 0;
  int height = 0, width = 0, components = 0;
  const std::unique_ptr<void, StbFree> samples(
      wide ? static_cast<void*>(stbi_load_16_from_memory(data, size, &width, &height, &components, 0))
           : static_cast<void*>(stbi_load_from_memory(data, size, &width, &height, &components, 0)));
  if (!samples) {
    const char* why = stbi_failure_reason();
    bad_input(name, ": cannot decode: ", why ? why : "unknown reason");
  }
  return wide ? flatten(static_cast<const uint16_t*>(samples.get()), height, width, components)
              : flatten(static_cast<const uint8_t*>(samples.get()), height, width, components);
}

struct WebpFree {
  void operator()(uint8_t* p) const { WebPFree(p); }
};

// A WebP, lossy or lossless, as it is stored.
Image decode_webp(std::string_view bytes, const std::string& name) {
  const auto* data = reinterpret_cast<const uint8_t*>(bytes.data());
  WebPBitstreamFeatures features;
  int height = 0, width = 0;
  std::unique_ptr<uint8_t, WebpFree> samples;
  if (WebPGetFeatures(data, bytes.size(), &features) == VP8_STATUS_OK)
    samples.reset(features.has_alpha ? WebPDecodeRGBA(data, bytes.size(), &width, &height)
                                     : WebPDecodeRGB(data, bytes.size(), &width, &height));
  if (!samples) bad_input(name, ": cannot decode: corrupt WebP");
  return flatten(samples.get(), height, width, features.has_alpha ? 4 : 3);
}

}  // namespace

Image decode_image(std::string_view bytes, const std::string& name) {
  const ImageScan scan = scan_image(bytes);
  if (!scan.problem.empty()) bad_input(name, ": ", scan.problem);
  if (bytes.size() > INT_MAX) bad_input(name, ": larger than 2 GiB");
  return upright(scan.format == ImageFormat::kWebp ? decode_webp(bytes, name) : decode_with_stb(bytes, name),
                 scan.orientation);
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
