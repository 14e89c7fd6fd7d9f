#include <webp/decode.h>

#include <memory>

#include "engine/image/stored_pixels.h"
#include "kernels/error.h"

namespace imago {

namespace {

struct WebpFree {
  void operator()(uint8_t* p) const { WebPFree(p); }
};

}  // namespace

Image decode_webp(std::string_view bytes, const std::string& name) {  // lossy or lossless
  const auto* data = reinterpret_cast<const uint8_t*>(bytes.data());
  WebPBitstreamFeatures features;
  int height = 0, width = 0;
  std::unique_ptr<uint8_t, WebpFree> samples;
  if (WebPGetFeatures(data, bytes.size(), &features) == VP8_STATUS_OK) {
    check_promised_size(features.height, features.width, bytes.size(), name);
    samples.reset(features.has_alpha ? WebPDecodeRGBA(data, bytes.size(), &width, &height)
                                     : WebPDecodeRGB(data, bytes.size(), &width, &height));
  }
  if (!samples) bad_input(name, ": cannot decode: corrupt WebP");
  return flatten(samples.get(), height, width, features.has_alpha ? 4 : 3);
}

}  // namespace imago
