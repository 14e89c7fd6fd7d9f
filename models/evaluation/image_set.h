// Images that are evaluated or compared with: all of one size, in host memory.
#pragma once

#include <functional>
#include <memory>
#include <optional>
#include <span>

#include "engine/data/dataset.h"
#include "engine/tensor/tensor.h"
#include "models/evaluation/features.h"
#include "models/features/feature_network.h"

namespace imago {

struct ImageSet {
  int64_t height = 0, width = 0, channels = 0;
  std::vector<uint8_t> pixels = {};  // [N,H,W,C]
  std::vector<int> labels = {};      // [N]; empty: the set has none

  int64_t count() const { return pixels.empty() ? 0 : static_cast<int64_t>(pixels.size()) / image_size(); }
  int64_t image_size() const { return height * width * channels; }
  std::span<const uint8_t> image(int64_t i) const {
    return std::span(pixels).subspan(static_cast<size_t>(i * image_size()),
                                     static_cast<size_t>(image_size()));
  }
  /// Images first .. first + count - 1 on a device: [count,H,W,C] uint8.
  Tensor tensor(int64_t first, int64_t count, Device device) const;
};

/// Images of a data set, resized to cover height x width and cropped in the middle, grey or colour as
/// `channels` says, with their labels: all in their order, or `most` of them in an order drawn from `seed`,
/// so that a set that is sorted by class is not cut off. `read` is called after each image; it may throw.
ImageSet load_images(const std::shared_ptr<const Dataset>& data, int64_t height, int64_t width,
                     int64_t channels, std::optional<int64_t> most, uint64_t seed,
                     const std::function<void()>& read);

/// What the network makes of the images as pixels in [-1,1]; `done` is called after each batch, with its
/// number of images. It may throw to stop.
Features features_of(const FeatureNetwork& network, const ImageSet& images, Device device, int batch_size,
                     const std::function<void(int64_t images)>& done);
/// The pixels themselves, in [-1,1].
Features pixel_features(const ImageSet& images);

}  // namespace imago
