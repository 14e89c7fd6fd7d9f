// Analytic gradients against central finite differences, in float64 on the reference backend.
#pragma once

#include <gtest/gtest.h>

#include <cmath>
#include <functional>
#include <vector>

#include "engine/autograd/parameter.h"
#include "engine/autograd/tape.h"
#include "engine/random/streams.h"
#include "kernels/philox.h"

namespace imago {

/// N(0,1) numbers that depend on `id` alone.
inline std::vector<double> random_doubles(int64_t n, int64_t id) {
  std::vector<double> v(static_cast<size_t>(n));
  for (int64_t i = 0; i < n; ++i) v[i] = normal_at(1234, random_stream(Purpose::kInit), id, i);
  return v;
}

inline Tensor random_tensor(const Shape& shape, int64_t id, Device device = Device::kReference) {
  return from_vector(random_doubles(shape.numel(), id), shape, device);
}

/// Checks d(sum w y)/d(leaf) for random w, for every element of every leaf (give leaves that require
/// gradients; they are read again at each call of `function`). With step h the central difference errs by
/// O(h^2) + eps/h: at h = 1e-4 about 1e-8, of numbers of order one; the bound of 1e-6 leaves room for third
/// derivatives and for sums.
inline void check_gradients(const std::function<Tensor()>& function, const std::vector<Tensor>& leaves) {
  const Tensor y = function();
  const std::vector<double> w = random_doubles(y.numel(), 777);
  for (Tensor leaf : leaves) {  // parameters add to their gradients: start from zero
    if (leaf.grad()) backend_of(leaf).fill(leaf.grad(), 0);
  }
  backward(y, from_vector(w, y.shape(), y.device()));
  const auto weighted_sum = [&] {
    const NoGrad no_grad;
    const std::vector<double> v = to_vector<double>(function());
    double sum = 0;
    for (size_t i = 0; i < v.size(); ++i) sum += w[i] * v[i];
    return sum;
  };
  for (size_t l = 0; l < leaves.size(); ++l) {
    ASSERT_TRUE(leaves[l].grad()) << "leaf " << l << " got no gradient";
    const std::vector<double> analytic = to_vector<double>(leaves[l].grad());
    auto* x = leaves[l].as<double>();
    for (int64_t i = 0; i < leaves[l].numel(); ++i) {
      constexpr double kStep = 1e-4;
      const double before = x[i];
      x[i] = before + kStep;
      const double above = weighted_sum();
      x[i] = before - kStep;
      const double below = weighted_sum();
      x[i] = before;
      const double numeric = (above - below) / (2 * kStep);
      ASSERT_NEAR(analytic[i], numeric, 1e-6 * (1 + std::abs(numeric))) << "leaf " << l << ", element " << i;
    }
  }
}

/// A leaf of random numbers that requires a gradient.
inline Tensor random_leaf(const Shape& shape, int64_t id) {
  return random_tensor(shape, id).set_requires_grad(true);
}

}  // namespace imago
