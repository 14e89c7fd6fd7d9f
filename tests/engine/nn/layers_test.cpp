// Every layer of engine/nn as part of a model: gradients by finite differences, names, flat buffers.
#include <gtest/gtest.h>

#include "engine/nn/conv2d.h"
#include "engine/nn/flat_parameters.h"
#include "engine/nn/group_norm.h"
#include "engine/nn/linear.h"
#include "tests/support/module_checks.h"

namespace imago {
namespace {

/// A module with one of everything, in float64.
struct Everything : Module {
  struct Inner : Module {
    GroupNorm norm{2, 4, 1e-5f, Activation::kSilu};
    Linear linear{4, 2};
    Inner() {
      add("norm", norm);
      add("linear", linear);
    }
    Tensor forward(const Tensor& x) { return linear.forward(norm.forward(x)); }  // [N,H,W,4] -> [N,H,W,2]
  };
  Conv2d conv{3, 4, 3};
  Inner inner;
  Everything() {
    add("conv", conv);
    add("inner.0", inner);
    name_paths();
  }
  Tensor forward(const Tensor& x) { return inner.forward(conv.forward(x)); }  // [N,H,W,3] -> [N,H,W,2]
};

TEST(Layers, GradientsOfEveryLayerInOneModule) {
  check_module_gradients<Everything>();
}

TEST(Layers, RecomputingChangesNoBit) {
  check_recomputing<Everything>();
}

TEST(Layers, PathsNameTheLayerAnOperationRunsIn) {
  check_observed_paths<Everything>("conv:conv2d", "inner.0.linear:conv2d");
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
