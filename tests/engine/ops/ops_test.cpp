// Every differentiable function of engine/ops: gradients by finite differences. (That the kernels below
// compute the right values is the op table's business, tests/kernels/.)
#include <gtest/gtest.h>

#include "engine/ops/attention.h"
#include "engine/ops/conv2d.h"
#include "engine/ops/elementwise.h"
#include "engine/ops/embedding.h"
#include "engine/ops/group_norm.h"
#include "engine/ops/loss.h"
#include "engine/ops/pooling.h"
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
  check_gradients([&] { return relu(a); }, {a});
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

TEST(Ops, Pooling) {
  const Tensor x = random_leaf({2, 5, 4, 3}, 1);
  check_gradients([&] { return avg_pool(x, {3, 3, {1, 1, 1, 1, 1}}); }, {x});
  check_gradients([&] { return avg_pool(x, {2, 3, {2, 1, 0, 0, 0}}); }, {x});
  EXPECT_EQ(global_avg_pool(x).shape(), (Shape{2, 3}));
  check_gradients([&] { return global_avg_pool(x); }, {x});
  EXPECT_EQ(max_pool(x.detach(), {3, 3, {2, 0, 0, 0, 0}}).shape(), (Shape{2, 2, 1, 3}));
}

TEST(Ops, PoolingRefusesWhatItCannotDo) {
  const Tensor x = random_leaf({1, 4, 4, 1}, 1);
  EXPECT_THROW(max_pool(x, {2, 2, {}}), Error);  // no gradient
  EXPECT_THROW(avg_pool(x, {5, 1, {}}), Error);
  EXPECT_THROW(avg_pool(x, {2, 2, {1, 2, 0, 0, 0}}), Error);  // a window without a pixel
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

TEST(Ops, CrossEntropyPrefersTheLabel) {
  const Tensor logits = random_leaf({3, 5}, 1);
  const Tensor label = from_vector(std::vector<int32_t>{4, 0, 2}, {3}, Device::kReference);
  check_gradients([&] { return cross_entropy(logits, label); }, {logits});
  // Equal logits: log K, whatever the label.
  const Tensor equal = zeros({3, 5}, DType::kFloat64, Device::kReference);
  for (double loss : to_vector<double>(cross_entropy(equal, label))) EXPECT_NEAR(loss, std::log(5), 1e-15);
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

}  // namespace
}  // namespace imago
