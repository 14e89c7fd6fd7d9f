// The Frechet distance between two sets of features (Heusel 2017), FID where they are Inception's.
#pragma once

#include "models/evaluation/features.h"

namespace imago {

/// Of a set of features.
struct Moments {
  int64_t count = 0;
  std::vector<double> mean = {};  // [D]
  Matrix covariance = {};         // [D,D], of the sample: divided by count - 1
};

/// Moments of features that come bit by bit, in float64: each batch's own, merged with those so far (Chan,
/// Golub & LeVeque 1983), so no difference of large sums is taken.
class MomentSums {
 public:
  explicit MomentSums(int64_t dimension);
  void add(const Features& batch);
  /// Bad input for fewer than two images.
  Moments moments() const;

 private:
  int64_t count_ = 0;
  std::vector<double> mean_;  // [D]
  Matrix deviations_;         // [D,D], sum of (x - mean) (x - mean)^T
};

Moments moments_of(const Features& features);

/// |mu_a - mu_b|^2 + tr(S_a + S_b - 2 (S_a S_b)^(1/2)), the squared Frechet distance of the normal
/// distributions with these moments (Dowson & Landau 1982; Heusel 2017, equation 6). With S_a = R^T R the
/// trace of the root is the sum of the roots of the eigenvalues of R S_b R^T, which is symmetric: covariances
/// may be singular, as those of fewer images than dimensions are. Failure where the dimensions differ.
double frechet_distance(const Moments& a, const Moments& b);

}  // namespace imago
