// What every module has to hold, whatever layers it is made of: M has Tensor forward(const Tensor& x), x
// [N,H,W,3] -> [N,H,W,2], and has named its paths.
#pragma once

#include <algorithm>
#include <string>

#include "engine/autograd/observer.h"
#include "engine/autograd/recompute.h"
#include "engine/nn/flat_parameters.h"
#include "tests/support/gradient_check.h"

namespace imago {

inline FlatParameters::Options float64() {
  return {Device::kReference, DType::kFloat64, DType::kFloat64, true};
}

/// The gradients of x and of all parameters against finite differences.
template <class M>
void check_module_gradients() {
  M model;
  FlatParameters flat(model, float64());
  flat.initialize(3);
  std::vector<Tensor> leaves{random_leaf({1, 4, 4, 3}, 1)};
  const Tensor x = leaves[0];
  for (const auto& e : flat.entries()) leaves.push_back(e.parameter->value);
  check_gradients([&] { return model.forward(x); }, leaves);
}

/// A module that is computed again in backward gives the same bits.
template <class M>
void check_recomputing() {
  M model;
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

/// An observer hears of `first` first, and of `later` at some time: "conv:conv2d", LAYER:OPERATION.
template <class M>
void check_observed_paths(const std::string& first, const std::string& later) {
  M model;
  FlatParameters flat(model, float64());
  flat.initialize(3);
  std::vector<std::string> seen;
  {
    const OpObserver observer([&](const std::string& layer, const std::string& op, const Tensor&) {
      seen.push_back(layer + ":" + op);
    });
    model.forward(random_leaf({1, 4, 4, 3}, 1));
  }
  EXPECT_EQ(seen.front(), first);
  EXPECT_NE(std::find(seen.begin(), seen.end(), later), seen.end());
}

}  // namespace imago
