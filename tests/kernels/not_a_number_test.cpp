// What the op table cannot say of max_pool and relu: a NaN is equal to nothing.
#include <gtest/gtest.h>

#include <cmath>
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

}  // namespace
}  // namespace imago
