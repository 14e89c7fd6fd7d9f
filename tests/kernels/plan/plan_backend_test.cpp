// The plan backend against counts done by hand.
#include <gtest/gtest.h>

#include <set>

#include "kernels/plan/plan_backend.h"

namespace imago {
namespace {

struct NoWorkspace : Workspace {
  void* get(size_t) override { failure("the plan backend needs no scratch memory"); }
};

class PlanBackendTest : public testing::Test {
 protected:
  void SetUp() override { reset_plan_counts(); }
  TensorRef tensor(const Shape& shape, DType type = DType::kFloat32) {
    return {plan_.allocate(shape.numel() * size_of(type)), type, shape};
  }
  const PlanCount& of(const std::string& operation) { return plan_counts().by_operation.at(operation); }

  Backend& plan_ = plan_backend();
  NoWorkspace workspace_;
};

// 3x3, 128 to 128 channels at 32x32, 128 images: 2 * 131072 * 128 * 9 * 128 = 38.65 GFLOP.
TEST_F(PlanBackendTest, Convolution) {
  const DType bf = DType::kBFloat16;
  const TensorRef x = tensor({128, 32, 32, 128}, bf), w = tensor({128, 3, 3, 128}, bf);
  const TensorRef y = tensor({128, 32, 32, 128}, bf), dw = tensor({128, 3, 3, 128});
  const int64_t flops = 38654705664, activations = 33554432, weights = 294912;
  const Conv2dGeometry g = Conv2dGeometry::same(3);

  plan_.conv2d({x}, w, g, {}, y, workspace_);
  EXPECT_EQ(of("conv2d").flops, flops);
  EXPECT_EQ(of("conv2d").bytes, 2 * activations + weights);
  plan_.conv2d_dgrad(y, w, g, 1, {}, {x}, workspace_);
  EXPECT_EQ(of("conv2d_dgrad").flops, flops);
  plan_.conv2d_wgrad({x}, y, g, 1, dw, {}, workspace_);
  EXPECT_EQ(of("conv2d_wgrad").flops, flops);
  EXPECT_EQ(of("conv2d_wgrad").bytes, 2 * activations + 2 * 2 * weights);  // float32, read and written

  EXPECT_EQ(plan_counts().total.flops, 3 * flops);
  EXPECT_EQ(plan_counts().total.launches, 3);

  plan_.conv2d_wgrad({x}, y, g, 1, dw, tensor({128}), workspace_);  // the bias's: one addition for every dy
  EXPECT_EQ(of("conv2d_wgrad").flops, 2 * flops + activations / 2);
  EXPECT_EQ(of("conv2d_wgrad").bytes, 2 * (2 * activations + 2 * 2 * weights) + 2 * 4 * 128);
  plan_.per_image_bias_grad(y, 1, tensor({128, 128}, bf), workspace_);
  EXPECT_EQ(of("per_image_bias_grad").flops, activations / 2);
  EXPECT_EQ(of("per_image_bias_grad").bytes, activations + 2 * 128 * 128);
  EXPECT_EQ(of("conv2d").launches, 1);
}

TEST_F(PlanBackendTest, StridedConvolutionOfTwoSourcesWithEpilogue) {
  const TensorRef a = tensor({2, 8, 8, 5}), b = tensor({2, 8, 8, 3}), w = tensor({4, 3, 3, 8});
  const TensorRef y = tensor({2, 4, 4, 4}), bias = tensor({4}), residual = tensor({2, 4, 4, 4});
  plan_.conv2d({a, b}, w, {2, 0, 0, 1, 1}, {bias, {}, residual, 0.5f}, y, workspace_);
  EXPECT_EQ(of("conv2d").flops, 2 * 32 * 4 * 9 * 8 + 3 * 128);
  EXPECT_EQ(of("conv2d").bytes, 4 * (640 + 384 + 288 + 4 + 128 + 128));
}

TEST_F(PlanBackendTest, WhatGradientsAreAddedToIsReadOnce) {
  const TensorRef a = tensor({2, 8, 8, 5}), b = tensor({2, 8, 8, 3}), w = tensor({4, 3, 3, 8});
  const TensorRef dy = tensor({2, 8, 8, 4}), sum = tensor({2, 8, 8, 3});
  plan_.conv2d_dgrad(dy, w, Conv2dGeometry::same(3), 1, {{}, sum}, {a, b}, workspace_);
  EXPECT_EQ(of("conv2d_dgrad").flops, 2 * 128 * 4 * 9 * 8 + 384);
  EXPECT_EQ(of("conv2d_dgrad").bytes, 4 * (512 + 288 + 384 + 640 + 384));
}

TEST_F(PlanBackendTest, Attention) {  // N 2, T 16, 4 heads of 8: a product is 2 * 2 * 4 * 16 * 16 * 8
  const TensorRef q = tensor({2, 16, 32}), lse = tensor({2, 4, 16});
  plan_.attention(q, q, q, 4, 1, q, lse, workspace_);
  EXPECT_EQ(of("attention").flops, 2 * 32768);
  EXPECT_EQ(of("attention").bytes, 4 * (4 * 1024 + 128));
  plan_.attention_backward(q, q, q, q, q, lse, 4, 1, q, q, q, workspace_);
  EXPECT_EQ(of("attention_backward").flops, 5 * 32768);
}

TEST_F(PlanBackendTest, OptimizerMovesEveryBuffer) {  // g once, p m v and ema twice, bfloat16 weights once
  const TensorRef p = tensor({1000}), bf = tensor({1000}, DType::kBFloat16), norm = tensor({1});
  const TensorRef step = tensor({sizeof(AdamWStep)}, DType::kUInt8);
  plan_.adamw(p, norm, step, p, p, p, p, bf);
  EXPECT_EQ(of("adamw").bytes, 4000 + 4 * 8000 + 2000 + 4 + 36);
}

TEST_F(PlanBackendTest, MemoryIsOnlyAddresses) {
  std::set<void*> addresses;
  for (int i = 0; i < 100; ++i) {
    void* p = plan_.allocate(size_t{1} << 40);  // 100 TiB in all
    EXPECT_TRUE(addresses.insert(p).second);
    EXPECT_EQ(reinterpret_cast<uintptr_t>(p) % 256, 0u);
    plan_.deallocate(p, size_t{1} << 40);
  }
  float host = 7;
  plan_.download(&host, *addresses.begin(), sizeof host);
  EXPECT_EQ(host, 0);
  EXPECT_EQ(plan_counts().total.launches, 0);
}

TEST_F(PlanBackendTest, ResetForgets) {
  plan_.fill(tensor({10}), 1);
  EXPECT_EQ(plan_counts().total.bytes, 40);
  reset_plan_counts();
  EXPECT_EQ(plan_counts().total.bytes, 0);
  EXPECT_TRUE(plan_counts().by_operation.empty());
}

}  // namespace
}  // namespace imago
