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

/// Improved precision and recall (Kynkaanniemi 2019). A set covers the points that are no farther from one of
/// its own than that is from its k-th nearest neighbour in the set. Precision: the share of samples that the
/// reference covers, how many look real; recall: the share of the reference that the samples cover, how much
/// of what is real they reach. Bad input where a set has fewer than k + 1 images.
PrecisionRecall precision_recall(const Features& samples, const Features& reference, int k = 3);

}  // namespace imago
