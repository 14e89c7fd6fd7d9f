// Feature networks as evaluation opens them.
#include "models/features/feature_network.h"

#include <gtest/gtest.h>

#include "models/resnet/classifier.h"
#include "tests/support/gradient_check.h"
#include "tests/support/temp_folder.h"

namespace imago {
namespace {

using namespace test;
namespace fs = std::filesystem;

TEST(FeatureNetwork, OpensAClassifier) {
  TempFolder folder;
  ResNetConfig c;
  c.sample_size = 6;
  c.class_names = {"a", "b"};
  ResNet network(c);
  FlatParameters parameters(network, {});
  parameters.initialize(1);
  write_classifier(folder.path(), c, parameters);

  const auto features = open_feature_network(folder.path(), Device::kCpu);
  EXPECT_EQ(features->dimension(), 96);
  EXPECT_NE(features->name().find("ResNet of 2 classes"), std::string::npos);
  const Tensor grey = zeros({3, 9, 7, 1}, DType::kFloat32, Device::kCpu);  // of another size, without colours
  EXPECT_EQ(features->features(grey).shape(), (Shape{3, 96}));
  EXPECT_FALSE(features->features(grey).requires_grad());
}

TEST(FeatureNetwork, RefusesWhatIsNone) {
  TempFolder folder;
  const auto refused = [](const fs::path& path, const std::vector<std::string>& parts) {
    expect_bad_input(parts, [&] { open_feature_network(path, Device::kCpu); });
  };
  refused(folder / "nowhere", {"nowhere: no such file or folder"});
  refused(folder.path(), {"not a classifier: it has no config.json"});
  put(folder / "notes.txt", "text");
  refused(folder / "notes.txt", {"notes.txt: no feature network", "train_classifier", "Inception-v3"});
  put(folder / "weights.pth", "pickle");
  refused(folder / "weights.pth", {"weights.pth", "convert_weights.py"});
  put(folder / "weights.safetensors", "");
  refused(folder / "weights.safetensors", {"weights.safetensors"});
}

}  // namespace
}  // namespace imago
