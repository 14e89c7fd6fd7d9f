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

// The squared distance of each image to its k-th nearest neighbour in the same set.
std::vector<double> squared_radii(const Features& set, int k) {
  std::vector<Nearest> nearest(static_cast<size_t>(set.count()), Nearest(k));
  for_each_block_of_distances(set, set, [&](int64_t first, int64_t other, const Matrix& d) {
#pragma omp parallel for
    for (int64_t i = 0; i < d.rows; ++i)
      for (int64_t j = 0; j < d.columns; ++j)
        if (first + i != other + j) nearest[static_cast<size_t>(first + i)].see(other + j, d.at(i, j));
  });
  std::vector<double> radii;
  for (const Nearest& n : nearest) radii.push_back(n.found().back().distance);
  return radii;
}

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

PrecisionRecall precision_recall(const Features& samples, const Features& reference, int k) {
  for (const Features* set : {&samples, &reference})
    if (set->count() < k + 1)
      bad_input("precision and recall: expected at least ", k + 1, " images in each set, not ", set->count());
  const std::vector<double> sample_radii = squared_radii(samples, k), radii = squared_radii(reference, k);
  std::vector<char> real(sample_radii.size()), reached(radii.size());
  for_each_block_of_distances(samples, reference, [&](int64_t first, int64_t other, const Matrix& d) {
    for (int64_t i = 0; i < d.rows; ++i)
      for (int64_t j = 0; j < d.columns; ++j) {
        const auto sample = static_cast<size_t>(first + i), image = static_cast<size_t>(other + j);
        if (d.at(i, j) <= radii[image]) real[sample] = 1;
        if (d.at(i, j) <= sample_radii[sample]) reached[image] = 1;
      }
  });
  return {share(real), share(reached)};
}

}  // namespace imago
