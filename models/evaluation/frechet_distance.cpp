#include "models/evaluation/frechet_distance.h"

#include <algorithm>
#include <cmath>

#include "kernels/error.h"

namespace imago {
namespace {

double trace(const Matrix& a) {
  double sum = 0;
  for (int64_t i = 0; i < a.rows; ++i) sum += a.at(i, i);
  return sum;
}

double trace_of_root_of_product(const Matrix& a, const Matrix& b) {
  const Matrix r = pivoted_cholesky(a);  // [r,D]
  Matrix rb(r.rows, b.rows);             // [r,D]
  add_product(r, b, rb);                 // b is symmetric
  Matrix m(r.rows, r.rows);              // [r,r]
  add_product(rb, r, m);
  double sum = 0;
  for (const double eigenvalue : symmetric_eigenvalues(std::move(m)))
    sum += std::sqrt(std::max(0.0, eigenvalue));
  return sum;
}

}  // namespace

MomentSums::MomentSums(int64_t dimension)
    : mean_(static_cast<size_t>(dimension)), deviations_(dimension, dimension) {}

// With n images before and m in the batch, delta = mean' - mean:
//   mean += m / (n + m) delta;  deviations += deviations' + n m / (n + m) delta delta^T
void MomentSums::add(const Features& batch) {
  const int64_t D = batch.dimension, m = batch.count();
  check(D == deviations_.rows, "moments: features of ", D, " dimensions among those of ", deviations_.rows);
  if (m == 0) return;
  std::vector<double> delta(static_cast<size_t>(D));  // first the batch's mean
  for (int64_t i = 0; i < m; ++i)
    for (int64_t j = 0; j < D; ++j)
      delta[static_cast<size_t>(j)] += double{batch.row(i)[j]} / static_cast<double>(m);
  const double n = static_cast<double>(count_), total = n + static_cast<double>(m);
  const double weight = std::sqrt(n * static_cast<double>(m) / total);
  Matrix x(D, m + 1);  // [D, m + 1]: the batch without its mean, and weight delta
  for (int64_t j = 0; j < D; ++j) {
    for (int64_t i = 0; i < m; ++i) x.at(j, i) = double{batch.row(i)[j]} - delta[static_cast<size_t>(j)];
    delta[static_cast<size_t>(j)] -= mean_[static_cast<size_t>(j)];
    x.at(j, m) = weight * delta[static_cast<size_t>(j)];
  }
  add_product(x, x, deviations_);
  for (size_t j = 0; j < mean_.size(); ++j) mean_[j] += delta[j] * static_cast<double>(m) / total;
  count_ += m;
}

Moments MomentSums::moments() const {
  if (count_ < 2) bad_input("moments of features: expected at least 2 images, not ", count_);
  Moments moments{count_, mean_, deviations_};
  for (double& value : moments.covariance.values) value /= static_cast<double>(count_ - 1);
  return moments;
}

Moments moments_of(const Features& features) {
  constexpr int64_t kBatch = 1024;
  MomentSums sums(features.dimension);
  for (int64_t first = 0; first < features.count(); first += kBatch) {
    const int64_t end = std::min(first + kBatch, features.count());
    sums.add({features.dimension, {features.row(first), features.row(end)}});
  }
  return sums.moments();
}

double frechet_distance(const Moments& a, const Moments& b) {
  check(a.mean.size() == b.mean.size(), "frechet_distance: moments of ", a.mean.size(), " and ",
        b.mean.size(), " dimensions");
  double distance = trace(a.covariance) + trace(b.covariance);
  for (size_t i = 0; i < a.mean.size(); ++i) {
    const double difference = a.mean[i] - b.mean[i];
    distance += difference * difference;
  }
  return distance - 2 * trace_of_root_of_product(a.covariance, b.covariance);
}

}  // namespace imago
