// Decodes every PNG, JPEG and WebP file of a folder, as train_ddpm does before its first epoch, without
// resizing them.
//
//   bench_decode FOLDER --workers 2
//
// Prints one JSON object, as bench/decode_pillow.py does: files, seconds, and a sum of checksums of their
// pixels, which says whether both saw the same. Files are read from disk; run it twice to have them in
// memory.
#include <omp.h>
#include <zlib.h>

#include <CLI/CLI.hpp>
#include <algorithm>
#include <atomic>
#include <chrono>
#include <exception>
#include <filesystem>
#include <nlohmann/json.hpp>

#include "apps/common/run_app.h"
#include "engine/image/decode.h"
#include "kernels/error.h"

namespace imago {
namespace {

std::vector<std::filesystem::path> files_of(const std::string& folder) {
  std::error_code error;
  std::vector<std::filesystem::path> files;
  for (const auto& entry : std::filesystem::directory_iterator(folder, error)) files.push_back(entry.path());
  if (error) bad_input(folder, ": expected a folder of images: ", error.message());
  if (files.empty()) bad_input(folder, ": expected a folder of images, it is empty");
  std::sort(files.begin(), files.end());
  return files;
}

int run(int argc, char** argv) {
  std::string folder;
  int workers = 1;
  CLI::App app("Decodes every image of a folder");
  app.add_option("folder", folder, "PNG, JPEG and WebP files")->required();
  app.add_option("--workers", workers, "threads")->check(CLI::PositiveNumber)->capture_default_str();
  try {
    app.parse(argc, argv);
  } catch (const CLI::ParseError& e) {
    return app.exit(e) == 0 ? 0 : kExitBadInput;
  }
  const std::vector<std::filesystem::path> files = files_of(folder);
  std::atomic<uint64_t> checksums = 0, pixels = 0;
  std::exception_ptr failure;
  const auto start = std::chrono::steady_clock::now();
#pragma omp parallel for schedule(dynamic, 16) num_threads(workers)
  for (size_t i = 0; i < files.size(); ++i) {
    try {
      const Image image = read_image(files[i]);
      checksums += crc32(0, image.pixels.data(), static_cast<uInt>(image.pixels.size()));
      pixels += static_cast<uint64_t>(image.height) * static_cast<uint64_t>(image.width);
    } catch (...) {
#pragma omp critical
      failure = std::current_exception();
    }
  }
  const std::chrono::duration<double> seconds = std::chrono::steady_clock::now() - start;
  if (failure) std::rethrow_exception(failure);
  const nlohmann::ordered_json line{{"program", "imago"},      {"files", files.size()},
                                    {"workers", workers},      {"seconds", seconds.count()},
                                    {"pixels", pixels.load()}, {"checksums", checksums.load()}};
  std::printf("%s\n", line.dump().c_str());
  return 0;
}

}  // namespace
}  // namespace imago

int main(int argc, char** argv) {
  return imago::run_app("bench_decode", [&] { return imago::run(argc, argv); });
}
