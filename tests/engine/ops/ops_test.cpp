// Every differentiable function of engine/ops and every layer of engine/nn: gradients by finite differences.
// (That the kernels below compute the right values is the op table's business, tests/kernels/.)
#include <gtest/gtest.h>

#include "engine/autograd/observer.h"
#include "engine/autograd/recompute.h"
#include "engine/nn/flat_parameters.h"
#include "engine/nn/layers.h"
#include "engine/ops/attention.h"
#include "engine/ops/elementwise.h"
#include "engine/ops/embedding.h"
#include "engine/ops/group_norm.h"
#include "engine/ops/loss.h"
#include "engine/ops/resample.h"
#include "tests/support/gradient_check.h"

namespace imago {
namespace {

Parameter random_parameter(const Shape& shape, int64_t id) {
  return make_parameter(random_tensor(shape, id));
}

TEST(Ops, Elementwise) {
  const Tensor a = random_leaf({2, 3, 5}, 1), b = random_leaf({2, 3, 5}, 2);
  check_gradients([&] { return silu(a); }, {a});
  check_gradients([&] { return add(a, b, 0.5f, -2); }, {a, b});
  check_gradients([&] { return add(a, a); }, {a});
  check_gradients([&] { return scale(a, -3); }, {a});
  check_gradients([&] { return reshape(silu(a), {6, 5}); }, {a});
}

TEST(Ops, DropoutUsesOneMaskForwardAndBackward) {
  const Tensor x = random_leaf({2, 64}, 1);
  const Tensor ids = from_vector(std::vector<int64_t>{5, 9}, {2}, Device::kReference);
  check_gradients([&] { return dropout(x, 0.25f, 7, 3, ids); }, {x});
  const std::vector<double> y = to_vector<double>(dropout(x, 0.25f, 7, 3, ids)), in = to_vector<double>(x);
  int zeros = 0;
  for (size_t i = 0; i < y.size(); ++i) {
    zeros += y[i] == 0;
    if (y[i] != 0) {
      EXPECT_NEAR(y[i], in[i] / 0.75, 1e-12);
    }
  }
  EXPECT_GT(zeros, 128 / 4 - 20);  // binomial(128, 1/4): mean 32, deviation 4.9
  EXPECT_LT(zeros, 128 / 4 + 20);
}

TEST(Ops, Conv2dWithEverythingFused) {
  const Tensor x = random_leaf({2, 5, 4, 3}, 1), skip = random_leaf({2, 5, 4, 2}, 2);
  const Parameter w = random_parameter({4, 3, 3, 5}, 3), b = random_parameter({4}, 4);
  const Tensor image_bias = random_leaf({2, 4}, 5), residual = random_leaf({2, 5, 4, 4}, 6);
  check_gradients(
      [&] {
        return conv2d(x, skip, w, &b, {Conv2dGeometry::same(3), image_bias, residual, 0.5f});
      },
      {x, skip, w.value, b.value, image_bias, residual});
}

TEST(Ops, Conv2dStrideTwoBothPaddings) {
  const Tensor x = random_leaf({1, 6, 4, 2}, 1);
  const Parameter w = random_parameter({3, 3, 3, 2}, 2);
  check_gradients([&] { return conv2d(x, {}, w, nullptr, {{2, 1, 1, 1, 1}, {}, {}}); }, {x, w.value});
  check_gradients([&] { return conv2d(x, {}, w, nullptr, {{2, 0, 0, 1, 1}, {}, {}}); }, {x, w.value});
}

TEST(Ops, Linear) {
  const Tensor x = random_leaf({2, 3, 4}, 1), residual = random_leaf({2, 3, 5}, 2);
  const Parameter w = random_parameter({5, 4}, 3), b = random_parameter({5}, 4);
  EXPECT_EQ(linear(x, w, &b).shape(), (Shape{2, 3, 5}));
  check_gradients([&] { return linear(x, w, &b, residual, 0.5f); }, {x, w.value, b.value, residual});
}

TEST(Ops, GroupNormWithTwoSourcesAndScaleShift) {
  const Tensor x = random_leaf({2, 3, 2, 4}, 1), skip = random_leaf({2, 3, 2, 2}, 2),
               scale_shift = random_leaf({2, 12}, 3);
  const Parameter gamma = random_parameter({6}, 4), beta = random_parameter({6}, 5);
  const GroupNormConfig silu_config{3, 1e-5f, Activation::kSilu}, plain{2, 1e-3f, Activation::kNone};
  check_gradients([&] { return group_norm(x, skip, gamma, beta, scale_shift, silu_config); },
                  {x, skip, gamma.value, beta.value, scale_shift});
  check_gradients(
      [&] { return group_norm(x, {}, random_parameter({4}, 6), random_parameter({4}, 7), {}, plain); }, {x});
}

TEST(Ops, Attention) {
  const Tensor q = random_leaf({2, 5, 6}, 1), k = random_leaf({2, 5, 6}, 2), v = random_leaf({2, 5, 6}, 3);
  check_gradients([&] { return attention(q, k, v, 2, 0.7f); }, {q, k, v});
}

TEST(Ops, Resample) {
  const Tensor x = random_leaf({1, 4, 2, 3}, 1);
  check_gradients([&] { return upsample2x(x); }, {x});
  check_gradients([&] { return avg_pool2x(x); }, {x});
}

TEST(Ops, EmbeddingAddsWhereAnIndexRepeats) {
  const Parameter table = random_parameter({4, 3}, 1);
  const Tensor index = from_vector(std::vector<int32_t>{2, 0, 2}, {3}, Device::kReference);
  check_gradients([&] { return embedding(table, index, DType::kFloat64); }, {table.value});
}

TEST(Ops, MseLossIsWeightedPerImage) {
  const Tensor prediction = random_leaf({2, 3, 2}, 1), target = random_tensor({2, 3, 2}, 2),
               weight = random_tensor({2}, 3);
  check_gradients([&] { return mse_loss(prediction, target, weight); }, {prediction});
}

TEST(Ops, ShapeErrorsSayWhatWasExpected) {
  const Tensor x = random_leaf({1, 4, 4, 3}, 1);
  const Parameter w = random_parameter({2, 3, 3, 4}, 2);
  EXPECT_THROW(conv2d(x, {}, w, nullptr, {Conv2dGeometry::same(3), {}, {}}), Error);
  Parameter frozen = random_parameter({2, 3, 3, 3}, 2), b = random_parameter({2}, 3);
  frozen.value = frozen.value.detach();  // the gradients of weight and bias are one operation
  EXPECT_THROW(conv2d(x, {}, frozen, &b, {Conv2dGeometry::same(3), {}, {}}), Error);
  EXPECT_THROW(add(x, random_leaf({1, 4, 4, 2}, 3)), Error);
  EXPECT_THROW(attention(x, x, x, 1, 1), Error);
  EXPECT_THROW(linear(x, random_parameter({2, 3}, 5), nullptr, random_leaf({1, 2, 8, 2}, 6)), Error);
  EXPECT_THROW(avg_pool2x(random_leaf({1, 3, 4, 1}, 4)), Error);
}

/// A module with one of everything, in float64.
struct Everything : Module {
  Conv2d conv{3, 4, 3};
  GroupNorm norm{2, 4, 1e-5f, Activation::kSilu};
  SelfAttention attention{{.channels = 4, .head_dim = 2, .groups = 2, .scale = 0.5f}};
  SelfAttention cut{{.channels = 4, .head_dim = 3, .groups = 0}};  // inner = 3, not 4
  Downsample down{4, 0};
  Upsample up{4};
  Linear linear{4, 2};
  Everything() {
    add("conv", conv);
    add("norm", norm);
    add("attention", attention);
    add("cut", cut);
    add("down", down);
    add("up", up);
    add("linear", linear);
    name_paths();
  }
  Tensor forward(const Tensor& x) {  // [N,H,W,3] -> [N,H,W,2]
    const Tensor h = norm.forward(conv.forward(x));
    return linear.forward(up.forward(down.forward(cut.forward(attention.forward(h)))));
  }
};

FlatParameters::Options float64() {
  return {Device::kReference, DType::kFloat64, DType::kFloat64, true};
}

TEST(Layers, GradientsOfEveryLayerInOneModule) {
  Everything model;
  FlatParameters flat(model, float64());
  flat.initialize(3);
  std::vector<Tensor> leaves{random_leaf({1, 4, 4, 3}, 1)};
  const Tensor x = leaves[0];
  for (const auto& e : flat.entries()) leaves.push_back(e.parameter->value);
  check_gradients([&] { return model.forward(x); }, leaves);
}

TEST(Layers, CheckpointingChangesNoBit) {
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

TEST(Layers, PathsNameTheLayerAnOperationRunsIn) {
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

TEST(FlatParametersTest, ViewsShareTheFlatBufferAndStartByName) {
  Everything a, b;
  FlatParameters fa(a, float64()), fb(b, float64());
  fa.initialize(3);
  fb.initialize(3);
  EXPECT_EQ(to_vector<double>(fa.values()), to_vector<double>(fb.values()));
  fb.initialize(4);
  EXPECT_NE(to_vector<double>(fa.values()), to_vector<double>(fb.values()));
  const auto& e = fa.entries()[0];
  EXPECT_EQ(e.name, "conv.weight");
  EXPECT_EQ(e.parameter->value.data(), fa.view(fa.values(), e).data());
  const double bound = 1 / std::sqrt(27.0);
  for (const double w : to_vector<double>(e.parameter->value)) EXPECT_LE(std::abs(w), bound);
}

TEST(FlatParametersTest, SwapShowsAnotherBufferAndRestores) {
  Everything model;
  FlatParameters flat(model, {Device::kReference, DType::kFloat32, DType::kBFloat16, true});
  flat.initialize(3);
  const Tensor other = flat.make_buffer();
  Parameter& w = *flat.entries()[0].parameter;
  const auto before = to_vector<bf16>(w.compute)[0].bits;
  {
    const FlatParameters::Swap swap(flat, other);
    EXPECT_EQ(to_vector<float>(w.value)[0], 0);
    EXPECT_EQ(to_vector<bf16>(w.compute)[0].bits, 0);
  }
  EXPECT_EQ(w.value.data(), flat.view(flat.values(), flat.entries()[0]).data());
  EXPECT_EQ(to_vector<bf16>(w.compute)[0].bits, before);
}

}  // namespace
}  // namespace imago
