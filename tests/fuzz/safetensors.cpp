// A safetensors file: its header, and every floating-point tensor in it.
#include "engine/io/safetensors.h"
#include "tests/fuzz/fuzz.h"

using namespace imago;

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const std::filesystem::path path = fuzz::file_with(data, size);
  fuzz::expect_read_or_refused([&] {
    const SafetensorsFile file(path);
    for (const SafetensorsFile::Entry& entry : file.entries())
      fuzz::expect_read_or_refused([&] { file.read_as_float32(entry.name); });
  });
  return 0;
}
