// Sets of images: which are taken, how they reach a feature network, and how they are laid out.
#include "models/evaluation/image_set.h"

#include <gtest/gtest.h>

#include <cstdlib>
#include <set>

#include "engine/image/decode.h"
#include "models/evaluation/tiles.h"

namespace imago {
namespace {

/// Image i is 4 x 2, all of value i, of class i / 5.
class Numbered final : public Dataset {
 public:
  int64_t size() const override { return 20; }
  Image image(int64_t i) const override {
    return {2, 4, 1, std::vector<uint8_t>(8, static_cast<uint8_t>(i))};
  }
  int32_t label(int64_t i) const override { return static_cast<int32_t>(i / 5); }
  const std::vector<std::string>& class_names() const override { return names_; }
  std::string name(int64_t i) const override { return std::to_string(i); }
  std::string description() const override { return "numbers"; }

 private:
  std::vector<std::string> names_ = {"a", "b", "c", "d"};
};

/// The mean of an image, and the number of images that came with it.
class MeanAndBatch final : public FeatureNetwork {
 public:
  std::string name() const override { return "mean"; }
  int64_t dimension() const override { return 2; }
  Tensor features(const Tensor& images) const override {
    const std::vector<float> x = to_vector<float>(images);
    const auto count = static_cast<size_t>(images.dim(0)), size = x.size() / count;
    std::vector<float> features;
    for (size_t n = 0; n < count; ++n) {
      float sum = 0;
      for (size_t i = 0; i < size; ++i) sum += x[n * size + i];
      features.insert(features.end(), {sum / static_cast<float>(size), static_cast<float>(count)});
    }
    return from_vector(features, {images.dim(0), 2}, images.device());
  }
};

ImageSet load(std::optional<int64_t> most, uint64_t seed = 1) {
  return load_images(std::make_shared<Numbered>(), 2, 2, 1, most, seed, [] {});
}

TEST(ImageSet, TakesAllImagesInTheirOrderWithTheirLabels) {
  const ImageSet set = load(std::nullopt);
  ASSERT_EQ(set.count(), 20);
  EXPECT_EQ(set.image_size(), 4);  // cropped to 2 x 2
  for (int64_t i = 0; i < 20; ++i) {
    EXPECT_EQ(set.image(i)[0], i);
    EXPECT_EQ(set.labels[static_cast<size_t>(i)], i / 5);
  }
  EXPECT_EQ(load(100).pixels, set.pixels);
}

TEST(ImageSet, TakesSomeByTheSeed) {
  const ImageSet some = load(8);
  ASSERT_EQ(some.count(), 8);
  const std::set<uint8_t> different(some.pixels.begin(), some.pixels.end());
  EXPECT_EQ(different.size(), 8u);
  for (int64_t i = 0; i < 8; ++i) EXPECT_EQ(some.labels[static_cast<size_t>(i)], some.image(i)[0] / 5);
  EXPECT_GT(*different.rbegin(), 8);  // not the first eight of a set that is sorted by class
  EXPECT_EQ(load(8).pixels, some.pixels);
  EXPECT_NE(load(8, 2).pixels, some.pixels);
}

TEST(ImageSet, FeaturesAreThoseOfPixelsFromMinusOneToOne) {
  const ImageSet set = load(std::nullopt);
  int64_t done = 0;
  const Features features =
      features_of(MeanAndBatch(), set, Device::kCpu, 8, [&](int64_t images) { done += images; });
  ASSERT_EQ(features.count(), 20);
  EXPECT_EQ(done, 20);
  for (int64_t i = 0; i < 20; ++i) {
    EXPECT_NEAR(features.row(i)[0], static_cast<double>(i) / 127.5 - 1, 1e-6);
    EXPECT_EQ(features.row(i)[1], i < 16 ? 8 : 4);  // batches of 8, 8 and 4
  }
  const Features pixels = pixel_features(set);
  EXPECT_EQ(pixels.dimension, 4);
  EXPECT_NEAR(pixels.row(19)[3], 19 / 127.5 - 1, 1e-6);
}

TEST(ImageSet, NeighboursStandBesideTheirSample) {
  const ImageSet set = load(std::nullopt);
  ImageSet queries{2, 2, 1, {set.pixels.begin() + 4 * 7, set.pixels.begin() + 4 * 9}};  // images 7 and 8
  const std::string png = neighbours_png(queries, pixel_features(queries), set, pixel_features(set), 2);
  const Image image = decode_image(png, "neighbours");
  ASSERT_EQ(image.width, 3 * 2 + 2 * 2);  // three images, and gaps of two pixels
  ASSERT_EQ(image.height, 2 * 2 + 2);
  const auto value = [&](int row, int column) {
    return image.pixels[static_cast<size_t>(row * 4 * image.width + column * 4)];
  };
  EXPECT_EQ(value(0, 0), 7);
  EXPECT_EQ(value(0, 1), 7);                // itself
  EXPECT_EQ(std::abs(value(0, 2) - 7), 1);  // 6 or 8, which are as near
  EXPECT_EQ(value(1, 0), 8);
  EXPECT_EQ(value(1, 1), 8);
  EXPECT_EQ(std::abs(value(1, 2) - 8), 1);
  EXPECT_EQ(decode_image(tiles_png(set, 4, 2), "tiles").width, 2 * 2 + 2);
}

}  // namespace
}  // namespace imago
