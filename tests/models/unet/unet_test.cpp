// What the U-Net does besides the numbers that diffusers gives: dropout, layer names, refused inputs.
#include <gtest/gtest.h>

#include <array>
#include <map>
#include <set>

#include "engine/autograd/observer.h"
#include "engine/tensor/allocator.h"
#include "kernels/plan/plan_backend.h"
#include "models/unet/unet.h"
#include "tests/models/golden.h"

namespace imago {
namespace {

UNetConfig tiny() {
  UNetConfig c;
  c.block_out_channels = {4, 8};
  c.down_block_types = {"DownBlock2D", "AttnDownBlock2D"};
  c.up_block_types = {"AttnUpBlock2D", "UpBlock2D"};
  c.norm_num_groups = 2;
  c.layers_per_block = 1;
  c.attention_head_dim.reset();
  return c;
}

// google/ddpm-cifar10-32.
UNetConfig cifar10() {
  UNetConfig c;
  c.block_out_channels = {128, 256, 256, 256};
  c.down_block_types = {"DownBlock2D", "AttnDownBlock2D", "DownBlock2D", "DownBlock2D"};
  c.up_block_types = {"UpBlock2D", "UpBlock2D", "AttnUpBlock2D", "UpBlock2D"};
  c.attention_head_dim.reset();
  return c;
}

struct Model {
  explicit Model(const UNetConfig& config, Device device = Device::kCpu)
      : unet(config), parameters(unet, {.device = device}) {
    golden::fill(parameters);
  }
  UNet unet;
  FlatParameters parameters;
};

Tensor images(int64_t n, Device device = Device::kCpu) {
  return golden::on_device(golden::images("x", {n, 8, 8, 3}), {n, 8, 8, 3}, DType::kFloat32, device);
}

Tensor times(const UNetConfig& c, std::vector<int> t) {
  return timesteps_tensor(c, t, Device::kCpu);
}

TEST(UNet, DropoutIsAFunctionOfSeedAndImage) {
  UNetConfig c = tiny();
  c.dropout = 0.5;
  Model m(c);
  const NoGrad no_grad;
  const auto run = [&](uint64_t seed, std::vector<int64_t> ids, const Tensor& x) {
    const auto n = static_cast<int64_t>(ids.size());
    const Tensor device_ids = from_vector(ids, {n}, Device::kCpu);
    const DropoutScope scope(seed, device_ids);
    return to_vector<float>(m.unet.forward(x, times(c, std::vector<int>(ids.size(), 5))));
  };
  const Tensor x = images(2);
  const std::vector<float> plain = to_vector<float>(m.unet.forward(x, times(c, {5, 5})));
  const std::vector<float> dropped = run(1, {10, 11}, x);
  EXPECT_NE(dropped, plain);
  EXPECT_EQ(dropped, run(1, {10, 11}, x));
  EXPECT_NE(dropped, run(2, {10, 11}, x));
  const Tensor second = x.slice(8 * 8 * 3, {1, 8, 8, 3});
  const std::vector<float> alone = run(1, {11}, second);
  EXPECT_EQ(alone, std::vector<float>(dropped.begin() + 8 * 8 * 3, dropped.end()));
  EXPECT_EQ(to_vector<float>(m.unet.forward(x, times(c, {5, 5}))), plain);
}

// The gradient of a model that recomputes is that of the model itself, with dropout, too: the second run
// drops the same.
TEST(UNet, RecomputingRepeatsDropout) {
  UNetConfig c = tiny();
  c.dropout = 0.3;
  Model m(c);
  const Tensor ids = from_vector<int64_t>({3, 4}, {2}, Device::kCpu);
  const auto gradients = [&](bool checkpointing) {
    m.parameters.zero_gradients();
    m.unet.set_gradient_checkpointing(checkpointing);
    const DropoutScope scope(9, ids);
    const Tensor y = m.unet.forward(images(2), times(c, {5, 800}));
    backward(y, golden::on_device(golden::images("dy", y.shape()), y.shape(), DType::kFloat32, Device::kCpu));
    return to_vector<float>(m.parameters.gradients());
  };
  const std::vector<float> kept = gradients(false), again = gradients(true);
  EXPECT_LE(golden::relative_error(again, kept), 1e-5);  // some sums in another order, float32
}

TEST(UNet, EveryOperationKnowsItsLayer) {
  Model m(tiny());
  std::set<std::string> layers;
  const OpObserver observer([&](const std::string& layer, const std::string& op, const Tensor&) {
    if (op != "reshape" && op != "cast") layers.insert(layer);
  });
  m.unet.forward(images(1), times(tiny(), {7}));
  for (const char* expected : {"conv_in", "time_embedding.linear_1", "down_blocks.0.resnets.0.conv1",
                               "down_blocks.0.downsamplers.0.conv", "down_blocks.1.attentions.0.to_out.0",
                               "mid_block.resnets.1.time_emb_proj", "up_blocks.0.resnets.1.conv_shortcut",
                               "up_blocks.1.resnets.0.norm2", "conv_norm_out", "conv_out"})
    EXPECT_TRUE(layers.contains(expected)) << expected;
}

// With every kind of embedding that has gradients, kept and computed again.
TEST(UNet, ChildrenReportTheirFinalGradientsLastLayerFirst) {
  UNetConfig c = tiny();
  c.num_class_embeds = 3;
  c.time_embedding_type = "learned";
  c.num_train_timesteps = 10;
  Model m(c);
  const auto gradients_of = [&](const std::string& child) {
    std::vector<std::vector<float>> all;
    for (const auto& e : m.parameters.entries())
      if (e.name.starts_with(child + ".")) all.push_back(to_vector<float>(e.parameter->value.grad()));
    return all;
  };
  const auto step = [&] {
    m.parameters.zero_gradients();
    const Tensor y =
        m.unet.forward(images(2), times(c, {5, 8}), class_labels_tensor(c, {2, 0}, Device::kCpu));
    backward(y, golden::on_device(golden::images("dy", y.shape()), y.shape(), DType::kFloat32, Device::kCpu));
    return to_vector<float>(m.parameters.gradients());
  };
  for (const bool recomputing : {false, true}) {
    m.unet.set_gradient_checkpointing(recomputing);
    const std::vector<float> unmarked = step();
    std::vector<std::string> order;
    std::vector<std::vector<std::vector<float>>> then;
    m.unet.on_gradients_complete([&](const std::string& child) {
      order.push_back(child);
      then.push_back(gradients_of(child));
    });
    EXPECT_EQ(step(), unmarked);
    m.unet.on_gradients_complete({});
    EXPECT_EQ(order, (std::vector<std::string>{"conv_out", "conv_norm_out", "up_blocks.1", "up_blocks.0",
                                               "mid_block", "down_blocks.1", "down_blocks.0", "conv_in",
                                               "class_embedding", "time_embedding", "time_proj"}));
    for (size_t i = 0; i < order.size(); ++i) {
      EXPECT_FALSE(then[i].empty()) << order[i];
      EXPECT_EQ(then[i], gradients_of(order[i])) << order[i];
    }
  }
}

// google/ddpm-cifar10-32 on the device that only counts: 6.1 billion multiply-adds an image, as is
// published; and checkpointing, which pays with a second forward for keeping less.
TEST(UNet, PlanCountsWorkAndMemory) {
  const UNetConfig c = cifar10();
  UNet unet(c);
  FlatParameters parameters(unet, {.device = Device::kPlan});
  const Tensor x = zeros({8, 32, 32, 3}, DType::kFloat32, Device::kPlan);
  const Tensor t = timesteps_tensor(c, std::vector<int>(8, 1), Device::kPlan);
  Allocator& allocator = allocator_of(Device::kPlan);
  {
    const NoGrad no_grad;
    unet.forward(x, t);  // the first call keeps the frequencies of the time embedding
  }
  const int64_t weights = allocator.stats().bytes_in_use;
  const auto run = [&](bool checkpointing) {
    unet.set_gradient_checkpointing(checkpointing);
    allocator.reset_peak();
    reset_plan_counts();
    const Tensor y = unet.forward(x, t);
    const int64_t forward = plan_counts().total.flops;
    backward(y, zeros(y.shape(), DType::kFloat32, Device::kPlan));
    return std::array<int64_t, 3>{forward, plan_counts().total.flops, allocator.stats().peak_bytes - weights};
  };
  const auto [forward, all, peak] = run(false);
  // Convolutions and linear layers (Fang, Ma, Wang 2023); backward's operations have other names.
  const auto products = static_cast<double>(plan_counts().by_operation.at("conv2d").flops);
  const auto [forward_again, all_again, peak_again] = run(true);
  EXPECT_NEAR(products / 8 / 2, 6.1e9, 0.05e9);
  EXPECT_NEAR(static_cast<double>(all) / static_cast<double>(forward), 3, 0.05);
  EXPECT_EQ(forward_again, forward);
  const double repeated = static_cast<double>(all_again - all) / static_cast<double>(forward);
  EXPECT_GT(repeated, 0.8);  // all but the resampling convolutions, conv_in and conv_out
  EXPECT_LT(repeated, 1.0);
  EXPECT_LT(peak_again, peak / 2);
  EXPECT_EQ(allocator.stats().bytes_in_use, weights);  // backward left nothing behind
}

// Of 85 sums of gradients, 8 take a pass of their own, with marks as without.
TEST(UNet, ReportingCompleteGradientsCostsNoLaunch) {
  const UNetConfig c = cifar10();
  UNet unet(c);
  const FlatParameters parameters(unet, {.device = Device::kPlan});
  const Tensor x = zeros({2, 32, 32, 3}, DType::kFloat32, Device::kPlan);
  const Tensor t = timesteps_tensor(c, {1, 1}, Device::kPlan);
  const auto launches = [&] {
    reset_plan_counts();
    const Tensor y = unet.forward(x, t);
    backward(y, zeros(y.shape(), DType::kFloat32, Device::kPlan));
    std::map<std::string, int64_t> calls;
    for (const auto& [operation, count] : plan_counts().by_operation) calls[operation] = count.launches;
    return calls;
  };
  launches();  // the first call keeps the frequencies of the time embedding
  const auto unmarked = launches();
  unet.on_gradients_complete([](const std::string&) {});
  EXPECT_EQ(launches(), unmarked);
  EXPECT_EQ(unmarked.at("add"), 8);
}

TEST(UNet, RefusesInputsThatDoNotFit) {
  Model m(tiny());
  const UNetConfig& c = m.unet.config();
  EXPECT_THROW(m.unet.forward(images(2), times(c, {1})), Error);
  const Tensor odd = zeros({1, 7, 8, 3}, DType::kFloat32, Device::kCpu);
  EXPECT_THROW(m.unet.forward(odd, times(c, {1})), Error);
  const Tensor grey = zeros({1, 8, 8, 1}, DType::kFloat32, Device::kCpu);
  EXPECT_THROW(m.unet.forward(grey, times(c, {1})), Error);
  EXPECT_THROW(m.unet.forward(images(1), times(c, {1}), times(c, {1})), Error);  // labels it cannot use
  EXPECT_THROW(class_labels_tensor(c, {0}, Device::kCpu), Error);
}

TEST(UNet, ClassesAndLearnedTimesHaveARange) {
  UNetConfig c = tiny();
  c.num_class_embeds = 3;
  c.time_embedding_type = "learned";
  c.num_train_timesteps = 10;
  EXPECT_EQ(to_vector<int32_t>(class_labels_tensor(c, {0, 2}, Device::kCpu)), (std::vector<int32_t>{0, 2}));
  EXPECT_THROW(class_labels_tensor(c, {3}, Device::kCpu), Error);
  EXPECT_THROW(class_labels_tensor(c, {-1}, Device::kCpu), Error);
  EXPECT_THROW(timesteps_tensor(c, {10}, Device::kCpu), Error);
  Model m(c);
  EXPECT_THROW(m.unet.forward(images(1), times(c, {1})), Error);  // needs labels
}

}  // namespace
}  // namespace imago
