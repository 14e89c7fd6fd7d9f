// What the op table cannot say of max_pool, relu and attention: a NaN is equal to nothing, and scores too
// large for exp are nothing a network should have.
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <vector>

#include "kernels/backend.h"

namespace imago {
namespace {

TEST(MaxPool, ShowsNaNWhereverItStandsInTheWindow) {
  for (Backend* backend : {&reference_backend(), &cpu_backend()}) {
    for (size_t place = 0; place < 4; ++place) {
      std::vector<float> x = {1, 2, 3, 4}, y = {0};  // x [1,2,2,1], y [1,1,1,1]
      const ConstTensorRef image(x.data(), DType::kFloat32, {1, 2, 2, 1});
      const TensorRef pooled(y.data(), DType::kFloat32, {1, 1, 1, 1});
      backend->max_pool(image, {2, 2, {}}, pooled);
      EXPECT_EQ(y[0], 4);
      x[place] = NAN;
      backend->max_pool(image, {2, 2, {}}, pooled);
      EXPECT_TRUE(std::isnan(y[0])) << backend->name() << ", pixel " << place;
    }
  }
}

TEST(Relu, ShowsNaN) {
  for (Backend* backend : {&reference_backend(), &cpu_backend()}) {
    std::vector<float> x = {-1, NAN, 2}, y(3);
    backend->relu(ConstTensorRef(x.data(), DType::kFloat32, {3}), TensorRef(y.data(), DType::kFloat32, {3}));
    EXPECT_EQ(y[0], 0);
    EXPECT_TRUE(std::isnan(y[1])) << backend->name();
    EXPECT_EQ(y[2], 2);
  }
}

struct AlignedMemory : Workspace {
  std::vector<char> bytes;

  void* get(size_t size) override {
    bytes.resize(size + 256);
    return bytes.data() + 256 - reinterpret_cast<uintptr_t>(bytes.data()) % 256;
  }
};

// One image, 70 tokens (a tile and a rest), one head of 8: the first query is hit, the others are not.
TEST(Attention, ShowsNaNOfAQueryInItsRowAlone) {
  constexpr int64_t kTokens = 70, kDim = 8;
  const Shape shape{1, kTokens, kDim};
  for (Backend* backend : {&reference_backend(), &cpu_backend()}) {
    std::vector<float> q(kTokens * kDim, 0.5f), k = q, v(kTokens * kDim, 2), y(kTokens * kDim);
    q[3] = NAN;
    AlignedMemory workspace;
    std::vector<float> log_sums(kTokens);
    const TensorRef lse(log_sums.data(), DType::kFloat32, {1, 1, kTokens});
    const auto in = [&](std::vector<float>& x) { return TensorRef(x.data(), DType::kFloat32, shape); };
    backend->attention(in(q), in(k), in(v), 1, 1.0f, in(y), lse, workspace);
    for (size_t i = 0; i < y.size(); ++i) {
      if (i < kDim) {
        EXPECT_TRUE(std::isnan(y[i])) << backend->name() << " " << i;
      } else {
        EXPECT_NEAR(y[i], 2, 1e-5) << backend->name() << " " << i;
      }
    }
  }
}

// Token 66, in the second tile, is every query's: its score is 4e30, that of the others -8e30.
TEST(Attention, BearsScoresFarBeyondTheRangeOfExp) {
  constexpr int64_t kTokens = 70, kDim = 8, kChosen = 66;
  const Shape shape{1, kTokens, kDim};
  for (Backend* backend : {&reference_backend(), &cpu_backend()}) {
    std::vector<float> q(kTokens * kDim, 1e15f), k(kTokens * kDim, -1e15f), v(kTokens * kDim, 7),
        y(kTokens * kDim);
    std::fill_n(k.begin() + kChosen * kDim, kDim, 5e14f);
    std::fill_n(v.begin() + kChosen * kDim, kDim, 3.0f);
    AlignedMemory workspace;
    std::vector<float> log_sums(kTokens);
    const TensorRef lse(log_sums.data(), DType::kFloat32, {1, 1, kTokens});
    const auto in = [&](std::vector<float>& x) { return TensorRef(x.data(), DType::kFloat32, shape); };
    backend->attention(in(q), in(k), in(v), 1, 1.0f, in(y), lse, workspace);
    for (float f : y) ASSERT_EQ(f, 3) << backend->name();
  }
}

}  // namespace
}  // namespace imago
