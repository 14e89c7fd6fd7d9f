// A Parquet file as the hub ships images: opened, and every image of the first rows decoded.
#include <algorithm>

#include "engine/data/sources.h"
#include "tests/fuzz/fuzz.h"

using namespace imago;

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const std::filesystem::path file = fuzz::file_with(data, size);
  fuzz::expect_read_or_refused([&] {
    DatasetOptions options;
    options.broken_images.warn = [](const std::string&) {};
    const auto images = open_parquet({file}, file, options);
    for (int64_t i = 0; i < std::min<int64_t>(images->size(), 16); ++i) {
      images->label(i);
      fuzz::expect_read_or_refused([&] { images->image(i); });
    }
  });
  return 0;
}
