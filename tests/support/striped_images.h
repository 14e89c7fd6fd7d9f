// A set of images whose classes a small network can learn in seconds.
#pragma once

#include <filesystem>
#include <string>
#include <vector>

#include "engine/data/dataset.h"
#include "engine/image/png.h"
#include "kernels/philox.h"

namespace imago::test {

/// Grey stripes of random phase under noise: along rows (class 0, "rows") or along columns (class 1,
/// "columns").
class Stripes final : public Dataset {
 public:
  explicit Stripes(int64_t size, int side = 8, int64_t first = 0) : size_(size), side_(side), first_(first) {}
  int64_t size() const override { return size_; }
  Image image(int64_t i) const override {
    const int64_t id = first_ + i;
    const int phase = static_cast<int>(4 * uniform_at(1, 1, id, 0));
    Image image{side_, side_, 1, {}};
    for (int y = 0; y < side_; ++y) {
      for (int x = 0; x < side_; ++x) {
        const bool light = ((label(i) == 0 ? y : x) + phase) % 4 < 2;
        const double noise = uniform_at(1, 1, id, static_cast<uint32_t>(1 + y * side_ + x));
        image.pixels.push_back(static_cast<uint8_t>((light ? 150 : 50) + 50 * noise));
      }
    }
    return image;
  }
  int32_t label(int64_t i) const override { return static_cast<int32_t>((first_ + i) % 2); }
  const std::vector<std::string>& class_names() const override { return names_; }
  std::string name(int64_t i) const override { return "stripes " + std::to_string(first_ + i); }
  std::string description() const override { return std::to_string(size_) + " stripes"; }

 private:
  int64_t size_;
  int side_;
  int64_t first_;  // the number of image 0: sets that do not overlap are different images
  std::vector<std::string> names_ = {"rows", "columns"};
};

/// One PNG an image, in a sub-folder for each class: 100.png, 101.png, ...
inline void write_class_folders(const Dataset& set, const std::filesystem::path& folder) {
  for (int64_t i = 0; i < set.size(); ++i) {
    const std::filesystem::path file =
        folder / set.class_names()[static_cast<size_t>(set.label(i))] / (std::to_string(100 + i) + ".png");
    std::filesystem::create_directories(file.parent_path());
    write_png(file, set.image(i));
  }
}

}  // namespace imago::test
