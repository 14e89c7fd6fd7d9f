#include <spng.h>

#include <memory>

#include "engine/image/stored_pixels.h"
#include "kernels/error.h"

namespace imago {

namespace {

struct ContextFree {
  void operator()(spng_ctx* c) const { spng_ctx_free(c); }
};
using Context = std::unique_ptr<spng_ctx, ContextFree>;

void expect_ok(int code, const std::string& name) {
  if (code != 0) bad_input(name, ": cannot decode: ", spng_strerror(code));
}

/// What to ask libspng for: a format that holds all that the file says, and its components.
struct Target {
  int format;
  int components;
};

/// libspng gives grey with alpha as it is stored, and adds an alpha channel to other grey files: always where
/// they have 16 bits.
Target target_of(const spng_ihdr& header, bool transparent) {
  const bool wide = header.bit_depth == 16;
  switch (header.color_type) {
    case SPNG_COLOR_TYPE_GRAYSCALE_ALPHA: return {SPNG_FMT_PNG, 2};
    case SPNG_COLOR_TYPE_GRAYSCALE:
      if (wide) return {SPNG_FMT_GA16, 2};
      return transparent ? Target{SPNG_FMT_GA8, 2} : Target{SPNG_FMT_G8, 1};
    default:
      if (wide) return {SPNG_FMT_RGBA16, 4};
      return transparent || header.color_type == SPNG_COLOR_TYPE_TRUECOLOR_ALPHA ? Target{SPNG_FMT_RGBA8, 4}
                                                                                 : Target{SPNG_FMT_RGB8, 3};
  }
}

template <class Sample>
Image decode_as(spng_ctx* context, const spng_ihdr& header, const Target& target, const std::string& name) {
  size_t bytes = 0;
  expect_ok(spng_decoded_image_size(context, target.format, &bytes), name);
  std::vector<Sample> samples(bytes / sizeof(Sample));  // [H,W,components]
  expect_ok(spng_decode_image(context, samples.data(), bytes, target.format, SPNG_DECODE_TRNS), name);
  return flatten(samples.data(), static_cast<int>(header.height), static_cast<int>(header.width),
                 target.components);
}

}  // namespace

Image decode_png(std::string_view bytes, const std::string& name) {
  const Context context(spng_ctx_new(0));
  check(context != nullptr, name, ": not enough memory");
  expect_ok(spng_set_png_buffer(context.get(), bytes.data(), bytes.size()), name);
  spng_set_crc_action(context.get(), SPNG_CRC_USE, SPNG_CRC_USE);  // scan_image has compared every chunk's
  spng_ihdr header{};
  expect_ok(spng_get_ihdr(context.get(), &header), name);
  check_promised_size(header.height, header.width, bytes.size(), name);
  spng_trns transparency{};
  const Target target = target_of(header, spng_get_trns(context.get(), &transparency) == 0);
  return header.bit_depth == 16 ? decode_as<uint16_t>(context.get(), header, target, name)
                                : decode_as<uint8_t>(context.get(), header, target, name);
}

}  // namespace imago
