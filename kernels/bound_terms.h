// The terms of the variational bound of a diffusion model whose variance is learned, pixel by pixel, in nats:
// what Backend::hybrid_loss sums, for host and device.
#pragma once

#include <cmath>

#include "kernels/philox.h"  // IMAGO_HOST_DEVICE

namespace imago {

/// A term, and its derivative with respect to l, the logarithm of the model's variance.
template <class Real>
struct BoundTerm {
  Real value, by_log_variance;
};

/// KL(N(0, exp(true_log)) || N(e, exp(l))) = (l - true_log + exp(true_log - l) + e^2 exp(-l) - 1) / 2
template <class Real>
IMAGO_HOST_DEVICE inline BoundTerm<Real> divergence_term(Real e, Real l, Real true_log) {
  const Real spread = std::exp(true_log - l) + e * e * std::exp(-l);
  return {(l - true_log + spread - 1) / 2, (1 - spread) / 2};
}

/// P(y < z) of y ~ N(0,1).
template <class Real>
IMAGO_HOST_DEVICE inline Real normal_below(Real z) {
  return std::erfc(z * static_cast<Real>(-0.70710678118654752)) / 2;
}

/// The derivative of normal_below(r z) with respect to l where r = exp(-l/2): -z/2 times the density at z.
template <class Real>
IMAGO_HOST_DEVICE inline Real normal_below_by_log_variance(Real z) {
  return z * static_cast<Real>(-0.19947114020071634) * std::exp(-z * z / 2);  // 1 / sqrt(8 pi)
}

/// -log max(P, 1e-12), P = P(x0 - 1/255 < y < x0 + 1/255) of y ~ N(x0 + e, exp(l)), with no end below where
/// x0 < -0.999 and none above where x0 > 0.999. By symmetry the pixel lies below the mean, where
/// probabilities are small and their difference is exact.
template <class Real>
IMAGO_HOST_DEVICE inline BoundTerm<Real> decoder_term(Real x0, Real e, Real l) {
  constexpr Real kHalf = static_cast<Real>(1) / 255, kEdge = static_cast<Real>(0.999),
                 kLeast = static_cast<Real>(1e-12);
  const Real r = std::exp(-l / 2), distance = std::fabs(e);
  const bool lowest = x0<-kEdge, highest = x0> kEdge;
  const Real upper = r * (kHalf - (lowest ? e : highest ? -e : distance)), lower = r * (-kHalf - distance);
  Real p = normal_below(upper), by_l = normal_below_by_log_variance(upper);
  if (!lowest && !highest) {
    p -= normal_below(lower);
    by_l -= normal_below_by_log_variance(lower);
  }
  if (p < kLeast) return {-std::log(kLeast), 0};
  return {-std::log(p), -by_l / p};
}

}  // namespace imago
