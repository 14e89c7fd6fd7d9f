// Inception-v3 against torch, on a network of a sixteenth of its width
// (tests/models/make_inception_golden.py).
#include "models/inception/inception.h"

#include <gtest/gtest.h>

#include "models/features/inception_features.h"
#include "tests/models/golden.h"
#include "tests/support/temp_folder.h"

namespace imago {
namespace {

using namespace test;
namespace fs = std::filesystem;

constexpr int kNarrow = 16;

fs::path weights() {
  return golden::folder() / "inception_narrow.safetensors";
}

/// Images of the golden file, [N,3,H,W] in [0,1], as [N,H,W,3] in [-1,1].
Tensor images(const SafetensorsFile& file, const std::string& name) {
  const std::vector<int64_t>& s = file.entry(name).shape;
  std::vector<float> x = nchw_to_nhwc(file.read_as_float32(name), {s[0], s[1], s[2], s[3]});
  for (float& v : x) v = 2 * v - 1;
  return from_vector(x, {s[0], s[2], s[3], s[1]}, Device::kCpu);
}

class InceptionTest : public ::testing::Test {
 protected:
  SafetensorsFile golden_{golden::folder() / "inception_features.safetensors"};
};

// Roundings of float32 through 48 layers. Another kind of pooling in one block alone makes a tenth.
constexpr double kTolerance = 1e-5;

TEST_F(InceptionTest, FeaturesEqualTorchs) {
  const InceptionV3 network(weights(), Device::kCpu, kNarrow);
  EXPECT_EQ(network.dimension(), 128);
  const Tensor features = network.features(images(golden_, "direct"));  // [1,128]
  EXPECT_EQ(features.shape(), (Shape{1, 128}));
  EXPECT_LT(golden::relative_error(to_vector<float>(features), golden_.read_as_float32("features_of_direct")),
            kTolerance);
}

TEST_F(InceptionTest, ImagesAreResizedAsPytorchFidDoes) {
  const InceptionFeatures network(weights(), Device::kCpu, kNarrow);
  const Tensor features = network.features(images(golden_, "small"));  // [2,128]
  EXPECT_EQ(features.shape(), (Shape{2, 128}));
  EXPECT_LT(golden::relative_error(to_vector<float>(features), golden_.read_as_float32("features_of_small")),
            kTolerance);
}

TEST_F(InceptionTest, GreyImagesGetThreeEqualChannels) {
  const InceptionFeatures network(weights(), Device::kCpu, kNarrow);
  std::vector<float> grey, colour;
  for (int i = 0; i < 10 * 12; ++i) {
    grey.push_back(std::sin(static_cast<float>(i)));
    colour.insert(colour.end(), 3, grey.back());
  }
  EXPECT_EQ(to_vector<float>(network.features(from_vector(grey, {1, 10, 12, 1}, Device::kCpu))),
            to_vector<float>(network.features(from_vector(colour, {1, 10, 12, 3}, Device::kCpu))));
}

TEST_F(InceptionTest, SmallImagesAreRefused) {
  const InceptionV3 network(weights(), Device::kCpu, kNarrow);
  EXPECT_THROW(network.features(zeros({1, 74, 80, 3}, DType::kFloat32, Device::kCpu)), Error);
}

TEST(ResizePlainly, LiesBetweenNeighbours) {
  const Tensor x = from_vector(std::vector<float>{0, 8}, {1, 1, 2, 1}, Device::kCpu);
  // Outputs lie at -1/4 (cut off at 0), 1/4, 3/4 and 5/4 (of the last pixel alone).
  EXPECT_EQ(to_vector<float>(resize_plainly(x, 1, 4)), (std::vector<float>{0, 2, 6, 8}));
  EXPECT_EQ(to_vector<float>(resize_plainly(x, 2, 1)), (std::vector<float>{4, 4}));
}

/// The narrow network's file with one change.
class InceptionFileTest : public ::testing::Test {
 protected:
  InceptionFileTest() {
    const SafetensorsFile file(weights());
    for (const SafetensorsFile::Entry& e : file.entries()) {
      Shape shape;
      for (const int64_t extent : e.shape) shape.push_back(extent);
      tensors_[e.name] = {shape, file.read_as_float32(e.name)};
    }
  }
  void refused(const std::vector<std::string>& parts) const {
    std::vector<NamedTensor> named;
    for (const auto& [name, tensor] : tensors_)
      named.push_back({name, {tensor.second.data(), DType::kFloat32, tensor.first}});
    write_safetensors(folder_ / "w.safetensors", named);
    expect_bad_input(parts, [&] { InceptionV3(folder_ / "w.safetensors", Device::kCpu, kNarrow); });
  }
  TempFolder folder_;
  std::map<std::string, std::pair<Shape, std::vector<float>>> tensors_;
};

TEST_F(InceptionFileTest, OtherNetworksAreRefused) {
  const auto whole = tensors_;
  tensors_.erase("Mixed_7c.branch_pool.bn.running_var");
  refused({"w.safetensors: tensor Mixed_7c.branch_pool.bn.running_var is missing"});
  tensors_ = whole;
  tensors_["Mixed_5b.branch1x1.conv.weight"] = {{4, 12, 1, 2}, std::vector<float>(96)};
  refused({"w.safetensors: tensor Mixed_5b.branch1x1.conv.weight: expected the shape [4,12,1,1]"});
  tensors_ = whole;
  tensors_["Conv2d_1a_3x3.bn.running_var"].second[1] = -1;
  refused({"Conv2d_1a_3x3.bn.running_var: -1"});
  tensors_ = whole;
  tensors_["AuxLogits.conv0.conv.weight"] = {{1}, {0}};
  refused({"AuxLogits.conv0.conv.weight is unexpected"});
  tensors_ = whole;
  tensors_["fc.weight"] = {{1000, 1}, std::vector<float>(1000)};  // torchvision's
  refused({"fc.weight is not that of 1008 classes"});
}

TEST_F(InceptionFileTest, TruncatedFilesAreRefused) {
  const std::string bytes = get(weights());
  put(folder_ / "w.safetensors", bytes.substr(0, bytes.size() - 1));
  expect_bad_input({"w.safetensors"}, [&] { InceptionV3(folder_ / "w.safetensors", Device::kCpu, kNarrow); });
  // Whole, but not as wide as the real one.
  expect_bad_input({"Conv2d_1a_3x3.conv.weight: expected the shape [32,3,3,3]"},
                   [] { InceptionV3(weights(), Device::kCpu); });
}

}  // namespace
}  // namespace imago
