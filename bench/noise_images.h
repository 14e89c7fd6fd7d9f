// Images of noise: a step takes the same time on them as on any.
#pragma once

#include <string>
#include <vector>

#include "engine/data/dataset.h"
#include "kernels/philox.h"

namespace imago {

class NoiseImages final : public Dataset {
 public:
  NoiseImages(int64_t count, int64_t height, int64_t width, int channels)
      : count_(count),
        height_(static_cast<int>(height)),
        width_(static_cast<int>(width)),
        channels_(channels) {}

  int64_t size() const override { return count_; }
  Image image(int64_t i) const override {
    Image p{height_, width_, channels_, {}};
    p.pixels.resize(static_cast<size_t>(height_) * static_cast<size_t>(width_) *
                    static_cast<size_t>(channels_));
    for (size_t at = 0; at < p.pixels.size(); ++at) {
      p.pixels[at] = static_cast<uint8_t>(random_words(0, 0, i, static_cast<uint32_t>(at)).w0);
    }
    return p;
  }
  const std::vector<std::string>& class_names() const override { return no_classes_; }
  std::string name(int64_t i) const override { return "noise " + std::to_string(i); }
  std::string description() const override { return "images of noise"; }

 private:
  int64_t count_;
  int height_, width_, channels_;
  std::vector<std::string> no_classes_;
};

}  // namespace imago
