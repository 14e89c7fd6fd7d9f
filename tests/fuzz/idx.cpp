// An IDX file, plain or gzip: as an array, and as a set of images.
#include "engine/data/sources.h"
#include "tests/fuzz/fuzz.h"

using namespace imago;

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const std::filesystem::path file = fuzz::file_with(data, size);
  fuzz::expect_read_or_refused([&] { read_idx(file); });
  fuzz::expect_read_or_refused([&] {
    const auto images = open_idx(file);
    images->image(0);
    images->image(images->size() - 1);
  });
  return 0;
}
