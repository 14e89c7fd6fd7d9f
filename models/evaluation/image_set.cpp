#include "models/evaluation/image_set.h"

#include <algorithm>
#include <numeric>

#include "engine/data/image_cache.h"
#include "engine/data/loader.h"
#include "models/pixels.h"

namespace imago {
namespace {

std::vector<uint32_t> chosen(int64_t size, std::optional<int64_t> most, uint64_t seed) {
  std::vector<uint32_t> order(static_cast<size_t>(size));
  std::iota(order.begin(), order.end(), 0u);
  if (!most || *most >= size) return order;
  shuffled_order(seed, 0, order);
  order.resize(static_cast<size_t>(*most));
  return order;
}

}  // namespace

Tensor ImageSet::tensor(int64_t first, int64_t count, Device device) const {
  return from_host(pixels.data() + first * image_size(), {count, height, width, channels}, DType::kUInt8,
                   device);
}

ImageSet load_images(const std::shared_ptr<const Dataset>& data, int64_t height, int64_t width,
                     int64_t channels, std::optional<int64_t> most, uint64_t seed,
                     const std::function<void()>& read) {
  ImageCache cache(data, {.height = static_cast<int>(height),
                          .width = static_cast<int>(width),
                          .channels = static_cast<int>(channels),
                          .center_crop = true});
  ImageSet set{height, width, channels};
  for (const uint32_t i : chosen(data->size(), most, seed)) {
    Image scratch;
    const auto [image, index] = cache.get(i, scratch);
    set.pixels.insert(set.pixels.end(), image->pixels.begin(), image->pixels.end());
    if (!data->class_names().empty()) set.labels.push_back(data->label(index));
    read();
  }
  return set;
}

Features features_of(const FeatureNetwork& network, const ImageSet& images, Device device, int batch_size,
                     const std::function<void(int64_t images)>& done) {
  Features features{network.dimension()};
  for (int64_t first = 0; first < images.count(); first += batch_size) {
    const int64_t count = std::min<int64_t>(batch_size, images.count() - first);
    const Tensor f = network.features(from_pixels(images.tensor(first, count, device)));  // [count,D]
    const std::vector<float> values = to_vector<float>(f);
    features.values.insert(features.values.end(), values.begin(), values.end());
    done(count);
  }
  return features;
}

Features pixel_features(const ImageSet& images) {
  return {images.image_size(), to_vector<float>(from_pixels(images.tensor(0, images.count(), Device::kCpu)))};
}

}  // namespace imago
