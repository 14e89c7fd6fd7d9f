// Nearest neighbours among features: precision and recall, and what a sample looks like in the training set.
#pragma once

#include "models/evaluation/features.h"

namespace imago {

struct Neighbour {
  int64_t index;
  double distance;  // Euclidean
};

/// The k nearest of `set` to each of `queries`, the nearest first; of equal distances the lower index. Bad
/// input where the set has fewer than k.
std::vector<std::vector<Neighbour>> nearest_neighbours(const Features& queries, const Features& set, int k);

struct PrecisionRecall {
  double precision, recall;
};

/// A set and what it covers: the points that are no farther from one of its own than that is from its k-th
/// nearest neighbour in the set. Refers to the features. Bad input for fewer than k + 1 images.
class CoveringSet {
 public:
  explicit CoveringSet(const Features& features, int k = 3);
  const Features& features() const { return features_; }
  double squared_radius(int64_t i) const { return squared_radii_[static_cast<size_t>(i)]; }

 private:
  const Features& features_;
  std::vector<double> squared_radii_;
};

/// Improved precision and recall (Kynkaanniemi 2019). Precision: the share of samples that the reference
/// covers, how many look real; recall: the share of the reference that the samples cover, how much of what is
/// real they reach.
PrecisionRecall precision_recall(const CoveringSet& samples, const CoveringSet& reference);

}  // namespace imago
