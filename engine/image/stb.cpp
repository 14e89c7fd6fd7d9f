// The one place where stb_image_write is compiled. PNG compression goes through zlib, which is faster and
// makes smaller files than stb's own.
#include <zlib.h>

#include <cstdlib>

namespace {

unsigned char* compress_with_zlib(unsigned char* data, int size, int* out_size, int /*quality*/) {
  uLongf bound = compressBound(static_cast<uLong>(size));
  auto* out = static_cast<unsigned char*>(std::malloc(bound));  // stb frees it
  if (out && compress2(out, &bound, data, static_cast<uLong>(size), 6) != Z_OK) {
    std::free(out);
    return nullptr;
  }
  *out_size = static_cast<int>(bound);
  return out;
}

}  // namespace

#define STBIW_ZLIB_COMPRESS compress_with_zlib
#define STBI_WRITE_NO_STDIO
#define STB_IMAGE_WRITE_IMPLEMENTATION
#include <stb_image_write.h>
