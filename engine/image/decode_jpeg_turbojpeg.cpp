#include <turbojpeg.h>

#include <memory>
#include <type_traits>

#include "engine/image/stored_pixels.h"
#include "kernels/error.h"

namespace imago {

namespace {

struct HandleFree {
  void operator()(void* h) const { tjDestroy(h); }
};
using Handle = std::unique_ptr<std::remove_pointer_t<tjhandle>, HandleFree>;

/// Inks as JPEG files store them: 255 is none. [H,W,4] to RGB.
Image mix_inks(const std::vector<uint8_t>& inks, int height, int width) {
  Image image{height, width, 3, std::vector<uint8_t>(inks.size() / 4 * 3)};
  for (size_t i = 0; i < inks.size() / 4; ++i) {
    for (size_t c = 0; c < 3; ++c) {
      image.pixels[3 * i + c] = static_cast<uint8_t>((inks[4 * i + c] * inks[4 * i + 3] + 127) / 255);
    }
  }
  return image;
}

}  // namespace

Image decode_jpeg(std::string_view bytes, const std::string& name) {
  const Handle handle(tjInitDecompress());
  check(handle != nullptr, name, ": not enough memory");
  const auto* data = reinterpret_cast<const unsigned char*>(bytes.data());
  const auto size = static_cast<unsigned long>(bytes.size());
  // Warnings (superfluous bytes, a damaged interval) leave an image, as in other readers.
  const auto expect_decoded = [&](int code) {
    if (code != 0 && tjGetErrorCode(handle.get()) != TJERR_WARNING)
      bad_input(name, ": cannot decode: ", tjGetErrorStr2(handle.get()));
  };
  int height = 0, width = 0, subsampling = 0, colours = 0;
  expect_decoded(tjDecompressHeader3(handle.get(), data, size, &width, &height, &subsampling, &colours));
  check_promised_size(height, width, bytes.size(), name);
  const bool inks = colours == TJCS_CMYK || colours == TJCS_YCCK, grey = colours == TJCS_GRAY;
  const int format = inks ? TJPF_CMYK : grey ? TJPF_GRAY : TJPF_RGB, components = inks ? 4 : grey ? 1 : 3;
  std::vector<uint8_t> samples(static_cast<size_t>(height) * static_cast<size_t>(width) *
                               static_cast<size_t>(components));  // [H,W,components]
  expect_decoded(tjDecompress2(handle.get(), data, size, samples.data(), width, 0, height, format,
                               TJFLAG_ACCURATEDCT | TJFLAG_LIMITSCANS));
  if (inks) return mix_inks(samples, height, width);
  return {height, width, components, std::move(samples)};
}

}  // namespace imago
