// The kernel distance between two sets of features, KID (Binkowski 2018).
#pragma once

#include "models/evaluation/features.h"

namespace imago {

struct KernelDistanceOptions {
  int subsets = 100, subset_size = 1000;  // fewer images, where a set has not so many
  uint64_t seed = 0;                      // of the subsets
};

struct KernelDistance {
  double mean, std;  // over the subsets
  int subsets, subset_size;
};

/// The unbiased estimate of the squared maximum mean discrepancy (Gretton 2012, lemma 6) under the kernel
/// k(x,y) = (x.y / D + 1)^3:
///   sum_(i /= j) k(x_i,x_j) / (m (m-1)) + the same of y - 2 sum_(i,j) k(x_i,y_j) / m^2
/// It may be negative. Over pairs of subsets of m images, drawn without putting back. Bad input for fewer
/// than two images.
KernelDistance kernel_distance(const Features& x, const Features& y,
                               const KernelDistanceOptions& options = {});

}  // namespace imago
