#include "models/evaluation/neighbours.h"

#include <algorithm>
#include <cmath>

#include "kernels/error.h"

namespace imago {
namespace {

/// The k with the smallest distance so far, ascending.
class Nearest {
 public:
  explicit Nearest(int k) : k_(static_cast<size_t>(k)) {}
  void see(int64_t index, double distance) {
    if (found_.size() == k_ && distance >= found_.back().distance) return;
    const auto behind = std::upper_bound(found_.begin(), found_.end(), distance,
                                         [](double d, const Neighbour& n) { return d < n.distance; });
    found_.insert(behind, {index, distance});
    if (found_.size() > k_) found_.pop_back();
  }
  const std::vector<Neighbour>& found() const { return found_; }

 private:
  size_t k_;
  std::vector<Neighbour> found_;
};

double share(const std::vector<char>& flags) {
  return static_cast<double>(std::count(flags.begin(), flags.end(), 1)) / static_cast<double>(flags.size());
}

}  // namespace

std::vector<std::vector<Neighbour>> nearest_neighbours(const Features& queries, const Features& set, int k) {
  if (set.count() < k) bad_input("nearest neighbours: expected at least ", k, " images, not ", set.count());
  std::vector<Nearest> nearest(static_cast<size_t>(queries.count()), Nearest(k));
  for_each_block_of_distances(queries, set, [&](int64_t first, int64_t other, const Matrix& d) {
    for (int64_t i = 0; i < d.rows; ++i)
      for (int64_t j = 0; j < d.columns; ++j)
        nearest[static_cast<size_t>(first + i)].see(other + j, d.at(i, j));
  });
  std::vector<std::vector<Neighbour>> all;
  for (const Nearest& n : nearest) {
    all.push_back(n.found());
    for (Neighbour& found : all.back()) found.distance = std::sqrt(found.distance);
  }
  return all;
}

CoveringSet::CoveringSet(const Features& features, int k) : features_(features) {
  if (features.count() < k + 1)
    bad_input("precision and recall: expected at least ", k + 1, " images in each set, not ",
              features.count());
  std::vector<Nearest> nearest(static_cast<size_t>(features.count()), Nearest(k));
  for_each_block_of_distances(features, features, [&](int64_t first, int64_t other, const Matrix& d) {
#pragma omp parallel for
    for (int64_t i = 0; i < d.rows; ++i)
      for (int64_t j = 0; j < d.columns; ++j)
        if (first + i != other + j) nearest[static_cast<size_t>(first + i)].see(other + j, d.at(i, j));
  });
  for (const Nearest& n : nearest) squared_radii_.push_back(n.found().back().distance);
}

PrecisionRecall precision_recall(const CoveringSet& samples, const CoveringSet& reference) {
  const Features &x = samples.features(), &y = reference.features();
  std::vector<char> real(static_cast<size_t>(x.count())), reached(static_cast<size_t>(y.count()));
  for_each_block_of_distances(x, y, [&](int64_t first, int64_t other, const Matrix& d) {
    for (int64_t i = 0; i < d.rows; ++i)
      for (int64_t j = 0; j < d.columns; ++j) {
        const int64_t sample = first + i, image = other + j;
        if (d.at(i, j) <= reference.squared_radius(image)) real[static_cast<size_t>(sample)] = 1;
        if (d.at(i, j) <= samples.squared_radius(sample)) reached[static_cast<size_t>(image)] = 1;
      }
  });
  return {share(real), share(reached)};
}

}  // namespace imago
