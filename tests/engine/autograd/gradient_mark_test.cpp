// Marks say when gradients are complete, and change nothing else.
#include "engine/autograd/gradient_mark.h"

#include <gtest/gtest.h>

#include "engine/autograd/recompute.h"
#include "engine/ops/conv2d.h"
#include "engine/ops/elementwise.h"
#include "tests/support/gradient_check.h"

namespace imago {
namespace {

const Shape kRows{3, 4};

/// Three linear layers with residuals: y = l2(h1) + h1, h1 = l1(h0) + h0, h0 = silu(l0(x)).
struct Chain {
  std::vector<Parameter> layers{make_parameter(random_tensor({4, 4}, 11)),
                                make_parameter(random_tensor({4, 4}, 12)),
                                make_parameter(random_tensor({4, 4}, 13))};

  std::vector<std::vector<double>> gradients() const {
    std::vector<std::vector<double>> all;
    for (const Parameter& p : layers) all.push_back(to_vector<double>(p.value.grad()));
    return all;
  }
  /// mark(h, i): stands at the input of layer i.
  template <class Mark>
  Tensor forward(const Tensor& x, const Mark& mark) const {
    Tensor h = silu(linear(x, layers[0], nullptr));  // [N,C]
    for (size_t i = 1; i < 3; ++i) {
      h = mark(h, i);                             // [N,C]
      h = add(linear(h, layers[i], nullptr), h);  // [N,C]
    }
    return h;
  }
};

Tensor ones() {
  return from_vector(std::vector<double>(12, 1), kRows, Device::kReference);
}

TEST(GradientMark, IsReachedOnceWhenTheLayersBehindItAreComplete) {
  const Chain chain;
  std::vector<size_t> reached;
  std::vector<std::vector<double>> then;
  const Tensor x = random_leaf(kRows, 1);
  backward(chain.forward(x,
                         [&](const Tensor& h, size_t i) {
                           return gradient_mark(h, [&, i] {
                             reached.push_back(i);
                             then.push_back(to_vector<double>(chain.layers[i].value.grad()));
                           });
                         }),
           ones());
  EXPECT_EQ(reached, (std::vector<size_t>{2, 1}));
  const auto last = chain.gradients();
  ASSERT_EQ(then.size(), 2u);
  EXPECT_EQ(then[0], last[2]);
  EXPECT_EQ(then[1], last[1]);
}

TEST(GradientMark, ChangesNoBit) {
  const auto run = [](bool marks) {
    const Chain chain;
    const Tensor x = random_leaf(kRows, 1);
    const Tensor y =
        chain.forward(x, [&](const Tensor& h, size_t) { return marks ? gradient_mark(h, [] {}) : h; });
    backward(add(y, scale(y, 2)), ones());
    auto all = chain.gradients();
    all.push_back(to_vector<double>(x.grad()));
    return all;
  };
  EXPECT_EQ(run(true), run(false));
}

TEST(GradientMark, CollectsWithThoseWhoReadPastIt) {
  const Tensor x = random_leaf(kRows, 1);
  check_gradients(
      [&] {  // h is read before the mark, through it, and past it afterwards
        const Tensor h = silu(x), before = scale(h, 3);
        const Tensor marked = gradient_mark(gradient_mark(h, [] {}), [] {});
        return add(add(before, silu(marked)), add(h, marked));
      },
      {x});
}

TEST(GradientMark, StandsBeforeAFunctionThatIsComputedAgain) {
  const Chain chain;
  int reached = 0;
  const Tensor x = random_leaf(kRows, 1);
  const auto layer = [&](const std::vector<Tensor>& in) {
    return linear(in[0], chain.layers[0], nullptr, in[0]);
  };
  const Tensor h = gradient_mark(silu(x), [&] {
    ++reached;
    EXPECT_NE(to_vector<double>(chain.layers[0].value.grad()), std::vector<double>(16, 0));
  });
  backward(recompute(layer, {h}), ones());
  EXPECT_EQ(reached, 1);
}

TEST(GradientMark, IsNothingWithoutGradients) {
  const auto never = [] { FAIL() << "reached"; };
  EXPECT_FALSE(gradient_mark(random_tensor(kRows, 1), never).requires_grad());
  const Tensor h = silu(random_leaf(kRows, 1));
  const NoGrad no_grad;
  EXPECT_EQ(gradient_mark(h, never).data(), h.data());
}

TEST(GradientEnd, ComesLastAndLeavesTheGradientsOfTheFirstLayersComplete) {
  const Chain chain, plain;
  const auto forward = [](const Chain& c, const auto& end) {
    const Tensor x = random_tensor(kRows, 1);
    const Tensor e = end(silu(linear(x, c.layers[0], nullptr)));  // [N,C]
    const Tensor h = linear(x, c.layers[1], nullptr);             // [N,C]
    return add(linear(h, c.layers[2], nullptr, e), e);            // [N,C]
  };
  std::vector<std::vector<double>> then;
  backward(
      forward(chain, [&](const Tensor& e) { return gradient_end(e, [&] { then = chain.gradients(); }); }),
      ones());
  backward(forward(plain, [](const Tensor& e) { return e; }), ones());
  EXPECT_EQ(then, chain.gradients());
  EXPECT_EQ(then, plain.gradients());
}

}  // namespace
}  // namespace imago
