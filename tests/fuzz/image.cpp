// An image file: PNG, JPEG or WebP.
#include "engine/image/decode.h"
#include "tests/fuzz/fuzz.h"

using namespace imago;

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  image_file_problem(fuzz::file_with(data, size));
  fuzz::expect_read_or_refused([&] { decode_image(fuzz::text(data, size), "image"); });
  return 0;
}
