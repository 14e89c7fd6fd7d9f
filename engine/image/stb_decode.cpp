#include "engine/image/stb_decode.h"

#include <memory>

#include "kernels/error.h"

#define STBI_ONLY_PNG
#define STBI_ONLY_JPEG
#define STBI_NO_STDIO
#define STBI_NO_LINEAR
#define STBI_NO_HDR
#define STB_IMAGE_IMPLEMENTATION
#include <stb_image.h>

namespace imago {

namespace {

struct StbFree {
  void operator()(void* p) const { stbi_image_free(p); }
};

}  // namespace

Image decode_with_stb(std::string_view bytes, const std::string& name) {
  const auto* data = reinterpret_cast<const stbi_uc*>(bytes.data());
  const int size = static_cast<int>(bytes.size());
  const bool wide = stbi_is_16_bit_from_memory(data, size) != 0;
  int height = 0, width = 0, components = 0;
  if (stbi_info_from_memory(data, size, &width, &height, &components) != 0)
    check_promised_size(height, width, bytes.size(), name);
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

}  // namespace imago
