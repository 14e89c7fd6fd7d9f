// The network: gradients, shapes, the names of its weights, configurations that make none.
#include "models/resnet/resnet.h"

#include <gtest/gtest.h>

#include <nlohmann/json.hpp>
#include <set>

#include "engine/nn/flat_parameters.h"
#include "tests/support/gradient_check.h"
#include "tests/support/module_checks.h"
#include "tests/support/temp_folder.h"

namespace imago {
namespace {

using namespace test;

ResNetConfig tiny() {
  ResNetConfig c;
  c.sample_size = 5;
  c.in_channels = 1;
  c.block_out_channels = {4, 6};
  c.norm_num_groups = 2;
  c.class_names = {"a", "b", "c"};
  return c;
}

TEST(ResNet, GradientsOfLogits) {  // 5x5: an odd size is halved to 3
  ResNet model(tiny());
  FlatParameters flat(model, float64());
  flat.initialize(3);
  std::vector<Tensor> leaves{random_leaf({2, 5, 5, 1}, 1)};
  const Tensor x = leaves[0];
  for (const auto& e : flat.entries()) leaves.push_back(e.parameter->value);
  check_gradients([&] { return model.logits(model.features(x)); }, leaves);
}

TEST(ResNet, ShapesAndNames) {
  ResNetConfig c = tiny();
  c.layers_per_block = 2;
  ResNet model(c);
  FlatParameters flat(model, {});
  flat.initialize(0);
  const NoGrad no_grad;
  const Tensor features = model.features(zeros({3, 5, 5, 1}, DType::kFloat32, Device::kCpu));
  EXPECT_EQ(features.shape(), (Shape{3, 6}));
  EXPECT_EQ(model.logits(features).shape(), (Shape{3, 3}));
  std::set<std::string> names;
  for (const auto& e : flat.entries()) names.insert(e.name);
  for (const char* name : {"conv_in.weight", "blocks.0.norm1.weight", "blocks.3.conv2.bias",
                           "blocks.2.shortcut.weight", "norm_out.bias", "classifier.weight"})
    EXPECT_TRUE(names.contains(name)) << name;
  EXPECT_FALSE(names.contains("blocks.0.shortcut.weight"));  // neither stride nor channels change
  EXPECT_FALSE(names.contains("blocks.3.shortcut.weight"));
}

TEST(ResNet, FeaturesOfAnImageDoNotDependOnTheOthers) {
  ResNet model(tiny());
  FlatParameters flat(model, float64());
  flat.initialize(3);
  const NoGrad no_grad;
  const Tensor x = random_tensor({2, 5, 5, 1}, 4);
  const std::vector<double> both = to_vector<double>(model.features(x));                            // [2,6]
  const std::vector<double> second = to_vector<double>(model.features(x.slice(25, {1, 5, 5, 1})));  // [1,6]
  EXPECT_EQ(second, std::vector<double>(both.begin() + 6, both.end()));
}

TEST(ResNet, RefusesOtherImages) {
  ResNet model(tiny());
  FlatParameters flat(model, {});
  EXPECT_THROW(model.features(zeros({1, 5, 5, 3}, DType::kFloat32, Device::kCpu)), Error);
}

TEST(ResNetConfig, IsReadAsItWasWritten) {
  const ResNetConfig c = tiny();
  EXPECT_EQ(parse_resnet_config(to_json(c), "config.json"), c);
  EXPECT_EQ(parse_resnet_config(nlohmann::json::object(), "config.json", /*without_classes=*/true),
            ResNetConfig());
}

TEST(ResNetConfig, RefusesWhatMakesNoNetwork) {
  const auto refused = [](const char* key, const nlohmann::json& value,
                          const std::vector<std::string>& parts) {
    nlohmann::json object = to_json(tiny());
    object[key] = value;
    expect_bad_input(parts, [&] { parse_resnet_config(object, "config.json"); });
  };
  refused("block_out_channels", {4, 5}, {"config.json: block_out_channels: 5", "norm_num_groups, 2"});
  refused("block_out_channels", nlohmann::json::array(), {"block_out_channels"});
  refused("in_channels", 2, {"in_channels: expected 1 (grey) or 3 (colour), not 2"});
  refused("sample_size", 0, {"sample_size: expected a whole number from 1"});
  refused("layers_per_block", "two", {"layers_per_block", "two"});
  refused("norm_eps", 0, {"norm_eps"});
  refused("class_names", {"a"}, {"class_names: expected two classes or more"});
  refused("class_names", {"a", "b", "a"}, {"class_names", "\"a\" stands there twice"});
  refused("widths", 4, {"widths: unknown key"});
  refused("_class_name", "UNet2DModel", {"UNet2DModel", "ResNetClassifier"});
}

}  // namespace
}  // namespace imago
