// Gradients of tensors that several operations read, where those operations add them up on the way.
#include <gtest/gtest.h>

#include "engine/autograd/continued_sums.h"
#include "engine/autograd/observer.h"
#include "engine/autograd/recompute.h"
#include "engine/ops/conv2d.h"
#include "engine/ops/elementwise.h"
#include "engine/ops/group_norm.h"
#include "tests/support/gradient_check.h"

namespace imago {
namespace {

/// Four ways to read h [1,3,2,4] that end in a gradient which continues a sum.
struct Readers {
  Parameter filter = make_parameter(random_tensor({4, 3, 3, 4}, 11));
  Parameter both = make_parameter(random_tensor({4, 3, 3, 8}, 12));
  Parameter matrix = make_parameter(random_tensor({4, 4}, 13));
  Parameter gamma = make_parameter(random_tensor({4}, 14)), beta = make_parameter(random_tensor({4}, 15));
  Parameter gamma_of_both = make_parameter(random_tensor({8}, 16));
  Parameter beta_of_both = make_parameter(random_tensor({8}, 17));

  Tensor conv(const Tensor& h, const Tensor& residual = {}) const {
    return conv2d(h, {}, filter, nullptr, {Conv2dGeometry::same(3), {}, residual, 0.5f});
  }
  Tensor conv(const Tensor& h, const Tensor& skip, const Tensor& residual) const {
    return conv2d(h, skip, both, nullptr, {Conv2dGeometry::same(3), {}, residual});
  }
  Tensor rows(const Tensor& h) const { return linear(h, matrix, nullptr, h); }
  Tensor norm(const Tensor& h) const {
    return group_norm(h, {}, gamma, beta, {}, {2, 1e-3f, Activation::kSilu});
  }
  Tensor norm(const Tensor& h, const Tensor& skip) const {
    return conv(group_norm(h, skip, gamma_of_both, beta_of_both, {}, {2, 1e-3f, Activation::kNone}), {}, {});
  }
};

const Shape kImage{1, 3, 2, 4};

Tensor ones() {
  return from_vector(std::vector<double>(24, 1), kImage, Device::kReference);
}

TEST(GradientSums, EveryReaderContinuesWhatTheOthersLeft) {
  const Readers r;
  const Tensor x = random_leaf(kImage, 1);
  const auto sum = [&](const Tensor& h) {  // each operation has others before and behind it
    return add(add(add(r.conv(h), r.norm(h)), add(r.rows(h), r.conv(h, h))), add(r.norm(h), silu(h)));
  };
  check_gradients([&] { return sum(silu(x)); }, {x});
  check_gradients([&] { return sum(x); }, {x});  // of a leaf
}

TEST(GradientSums, TwoSourcesOfWhichOneOrBothHaveASum) {
  const Readers r;
  const Tensor a = random_leaf(kImage, 1), b = random_leaf(kImage, 2);
  check_gradients(
      [&] {
        const Tensor u = silu(a), v = silu(b);
        return add(add(r.conv(u, v, {}), r.norm(u, v)), v);
      },
      {a, b});
  check_gradients(
      [&] {
        const Tensor u = silu(a), v = silu(b);
        return add(r.conv(u, v, {}), u);
      },
      {a, b});
}

TEST(GradientSums, OneTensorAsSeveralInputsOfOneOperation) {
  const Readers r;
  const Tensor x = random_leaf(kImage, 1);
  check_gradients(
      [&] {
        const Tensor h = silu(x);
        return add(add(r.conv(h, h, h), r.norm(h, h)), silu(h));
      },
      {x});
  check_gradients([&] { return r.conv(x, x, x); }, {x});
}

TEST(GradientSums, AreNotWrittenIntoGradientsThatOthersHold) {
  const Readers r;
  const Tensor a = random_leaf(kImage, 1), b = random_leaf(kImage, 2);
  check_gradients(
      [&] {  // a residual's gradient is dy itself, which add() hands on as well
        const Tensor u = silu(a), v = silu(b);
        return add(r.norm(u), add(u, v));
      },
      {a, b});
}

TEST(GradientSums, LeavesAccumulateOverCalls) {
  const Readers r;
  const Tensor x = random_leaf(kImage, 1);
  backward(r.conv(x), ones());
  const std::vector<double> once = to_vector<double>(x.grad());
  const Tensor held = x.grad();
  backward(add(r.conv(x), r.norm(x)), ones());
  EXPECT_EQ(to_vector<double>(held), once);
  const Tensor y = random_leaf(kImage, 1);  // the same numbers
  backward(r.norm(y), ones());
  const std::vector<double> norm = to_vector<double>(y.grad()), sum = to_vector<double>(x.grad());
  for (size_t i = 0; i < sum.size(); ++i) EXPECT_NEAR(sum[i], 2 * once[i] + norm[i], 1e-12);
}

TEST(GradientSums, GoThroughRecomputing) {
  const Readers r;
  const auto block = [&](const std::vector<Tensor>& in) {
    return add(r.conv(r.norm(in[0]), in[0]), r.conv(in[0], in[1], in[1]));
  };
  const auto gradients = [&](bool again) {
    const Tensor x = random_leaf(kImage, 1), skip = random_leaf(kImage, 2);
    const Tensor h = silu(x);
    const auto run = [&](const std::vector<Tensor>& in) { return again ? recompute(block, in) : block(in); };
    // h before, behind, and twice in one block.
    backward(add(add(r.conv(h), run({h, skip})), add(run({h, h}), silu(h))), ones());
    std::vector<double> all = to_vector<double>(x.grad()), more = to_vector<double>(skip.grad());
    all.insert(all.end(), more.begin(), more.end());
    return all;
  };
  const std::vector<double> kept = gradients(false), again = gradients(true);
  for (size_t i = 0; i < kept.size(); ++i) EXPECT_NEAR(again[i], kept[i], 1e-12 * (1 + std::abs(kept[i])));
  const Tensor x = random_leaf(kImage, 1);
  check_gradients([&] { return recompute(block, {silu(x), silu(x)}); }, {x});
}

TEST(GradientSums, AnOperationIsShownWhatTheOthersLeftAndReplacesWhatItTakes) {
  const Tensor x = random_leaf({2}, 1);
  const auto numbers = [](double a, double b) {
    return from_vector(std::vector<double>{a, b}, {2}, Device::kReference);
  };
  for (const bool takes : {false, true}) {
    const Tensor h = silu(x);
    std::vector<double> seen;
    const Tensor early = record("early", h.detach(), {h, h}, [&](const Tensor&, Gradients& so_far) {
      EXPECT_FALSE(so_far[1]);  // the same tensor: its sum is shown once
      seen = to_vector<double>(so_far[0]);
      if (takes) so_far[0] = {};
      return Gradients{numbers(100, 200), numbers(1000, 2000)};
    });
    std::vector<double> total;
    const Tensor late = scale(h, 3);
    const OpObserver observer([&](const std::string&, const std::string& op, const Tensor& y) {
      if (op == "early backward") total = to_vector<double>(y);
    });
    Tensor x_before = x;
    x_before.set_grad({});
    backward(add(early, late), numbers(1, 2));
    EXPECT_EQ(seen, (std::vector<double>{3, 6}));
    EXPECT_EQ(total, (std::vector<double>{1000, 2000}));  // the last that it returned
    const std::vector<double> got = to_vector<double>(x.grad());
    x_before.set_grad({});
    backward(silu(x), takes ? numbers(1100, 2200) : numbers(1103, 2206));
    EXPECT_EQ(got, to_vector<double>(x.grad()));
  }
}

TEST(GradientSums, ANumberThatIsNoneIsSeenFirstInItsLayer) {
  Readers r;
  const std::string early = "early", late = "late", shared = "shared";
  backend_of(r.matrix.value).fill(r.matrix.compute, std::nan(""));
  const auto read = [&](const std::string& layer, const auto& f) {
    const LayerScope scope(layer);
    return f();
  };
  const Tensor x = random_leaf(kImage, 1);
  const Tensor h = read(shared, [&] { return silu(x); });
  const Tensor y = read(early, [&] { return r.norm(h); });
  const Tensor z = read(late, [&] { return linear(h, r.matrix, nullptr); });
  std::string found;
  const OpObserver observer([&](const std::string& layer, const std::string&, const Tensor& t) {
    for (const double v : to_vector<double>(t))
      if (found.empty() && std::isnan(v)) found = layer;
  });
  backward(add(y, z), ones());
  EXPECT_EQ(found, "late");
}

}  // namespace
}  // namespace imago
