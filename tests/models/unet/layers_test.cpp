// The U-Net's own layers: gradients by finite differences, alone and computed again.
#include <gtest/gtest.h>

#include "engine/autograd/observer.h"
#include "engine/autograd/recompute.h"
#include "engine/nn/flat_parameters.h"
#include "models/unet/resample.h"
#include "models/unet/self_attention.h"
#include "tests/support/gradient_check.h"

namespace imago {
namespace {

/// A module with one of everything, in float64.
struct Everything : Module {
  Conv2d conv{3, 4, 3};
  SelfAttention attention{{.channels = 4, .head_dim = 2, .groups = 2, .scale = 0.5f}};
  SelfAttention cut{{.channels = 4, .head_dim = 3, .groups = 0}};  // inner = 3, not 4
  Downsample down{4, 0};
  Upsample up{4};
  Linear linear{4, 2};
  Everything() {
    add("conv", conv);
    add("attention", attention);
    add("cut", cut);
    add("down", down);
    add("up", up);
    add("linear", linear);
    name_paths();
  }
  Tensor forward(const Tensor& x) {  // [N,H,W,3] -> [N,H,W,2]
    return linear.forward(up.forward(down.forward(cut.forward(attention.forward(conv.forward(x))))));
  }
};

FlatParameters::Options float64() {
  return {Device::kReference, DType::kFloat64, DType::kFloat64, true};
}

TEST(UNetLayers, GradientsOfEveryLayerInOneModule) {
  Everything model;
  FlatParameters flat(model, float64());
  flat.initialize(3);
  std::vector<Tensor> leaves{random_leaf({1, 4, 4, 3}, 1)};
  const Tensor x = leaves[0];
  for (const auto& e : flat.entries()) leaves.push_back(e.parameter->value);
  check_gradients([&] { return model.forward(x); }, leaves);
}

TEST(UNetLayers, RecomputingChangesNoBit) {
  Everything model;
  FlatParameters flat(model, float64());
  flat.initialize(3);
  const Tensor x = random_leaf({2, 4, 4, 3}, 1), dy = random_tensor({2, 4, 4, 2}, 2);
  backward(model.forward(x), dy);
  const auto plain_x = to_vector<double>(x.grad()), plain = to_vector<double>(flat.gradients());
  Tensor again = x.detach();
  again.set_requires_grad(true);
  flat.zero_gradients();
  backward(recompute([&](const std::vector<Tensor>& in) { return model.forward(in[0]); }, {again}), dy);
  EXPECT_EQ(plain_x, to_vector<double>(again.grad()));
  EXPECT_EQ(plain, to_vector<double>(flat.gradients()));
}

TEST(UNetLayers, PathsNameTheLayerAnOperationRunsIn) {
  Everything model;
  FlatParameters flat(model, float64());
  flat.initialize(3);
  std::vector<std::string> seen;
  {
    const OpObserver observer([&](const std::string& layer, const std::string& op, const Tensor&) {
      seen.push_back(layer + ":" + op);
    });
    model.forward(random_leaf({1, 4, 4, 3}, 1));
  }
  EXPECT_EQ(seen.front(), "conv:conv2d");
  EXPECT_NE(std::find(seen.begin(), seen.end(), "attention.to_out.0:conv2d"), seen.end());
}

}  // namespace
}  // namespace imago
