// What the fuzz targets share. A target is libFuzzer's LLVMFuzzerTestOneInput: it gives one reader the bytes
// that libFuzzer makes up. They may be refused as bad input and by nothing else; the sanitizers see the rest,
// and libFuzzer a reader that takes more memory or time than it is given.
#pragma once

#include <sys/mman.h>
#include <unistd.h>

#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <string>
#include <string_view>

#include "kernels/error.h"

namespace imago::fuzz {

inline std::string_view text(const uint8_t* data, size_t size) {
  return {reinterpret_cast<const char*>(data), size};
}

/// A file in memory that holds the bytes; there is one, which the next call fills anew.
inline std::filesystem::path file_with(const uint8_t* data, size_t size) {
  static const int fd = memfd_create("input", 0);
  if (fd < 0 || ftruncate(fd, 0) != 0 || pwrite(fd, data, size, 0) != static_cast<ssize_t>(size)) {
    std::perror("memfd");
    std::abort();
  }
  return "/proc/self/fd/" + std::to_string(fd);
}

/// Runs `read`, which may throw bad input. (What a file says of itself may have line breaks, and so may the
/// message: programs take them out when they print it.)
template <class Read>
void expect_read_or_refused(Read&& read) {
  try {
    read();
  } catch (const Error& e) {
    if (e.fault == Fault::kBadInput) return;
    std::fprintf(stderr, "not bad input: %s\n", e.what());
    std::abort();
  }
}

}  // namespace imago::fuzz
