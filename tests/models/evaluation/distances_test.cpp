// Distances between sets of features: closed forms, and what numpy and scipy compute
// (tests/models/make_evaluation_golden.py).
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <nlohmann/json.hpp>

#include "engine/io/json.h"
#include "models/evaluation/frechet_distance.h"
#include "models/evaluation/kernel_distance.h"
#include "models/evaluation/neighbours.h"
#include "tests/models/golden.h"

namespace imago {
namespace {

/// features() of make_evaluation_golden.py.
Features golden_features(const std::string& name, int64_t n, int64_t d) {
  const std::vector<double> u = golden::uniform(name, n * d);
  Features features{d, {}};
  for (int64_t i = 0; i < n; ++i)
    for (int64_t j = 0; j < d; ++j) {
      const double before = u[static_cast<size_t>(i * d + (j + d - 1) % d)];
      const double mixed = u[static_cast<size_t>(i * d + j)] +
                           0.5 * before * static_cast<double>(1 + j) / static_cast<double>(d) +
                           (name == "y" ? 0.25 : 0);
      features.values.push_back(static_cast<float>(mixed));
    }
  return features;
}

Features first_of(const Features& features, int64_t n) {
  return {features.dimension, {features.row(0), features.row(n)}};
}

struct Case {
  Features x, y;
  nlohmann::json golden;
};

std::vector<Case> cases() {
  const nlohmann::json all = read_json(golden::folder() / "distances.json");
  std::vector<Case> found;
  for (const auto& [name, golden] : all.items()) {
    const int64_t d = golden["dimension"];
    found.push_back(
        {golden_features("x", golden["images"][0], d), golden_features("y", golden["images"][1], d), golden});
  }
  return found;
}

PrecisionRecall precision_and_recall(const Features& samples, const Features& reference, int k = 3) {
  return precision_recall(CoveringSet(samples, k), CoveringSet(reference, k));
}

Moments gaussian(const std::vector<double>& mean, const Matrix& covariance) {
  return {100, mean, covariance};
}

Matrix diagonal(const std::vector<double>& values) {
  const auto n = static_cast<int64_t>(values.size());
  Matrix m(n, n);
  for (int64_t i = 0; i < n; ++i) m.at(i, i) = values[static_cast<size_t>(i)];
  return m;
}

// Where covariances commute, the distance is that of the means and of the standard deviations.
TEST(FrechetDistance, OfNormalDistributionsWithCommutingCovariances) {
  const Moments a = gaussian({1, 2, 3}, diagonal({4, 9, 0})), b = gaussian({1, 0, 4}, diagonal({1, 9, 16}));
  EXPECT_NEAR(frechet_distance(a, b), (0 + 4 + 1) + (1 + 0 + 16), 1e-12);
  EXPECT_NEAR(frechet_distance(a, a), 0, 1e-12);
}

// Of two 2 x 2 matrices tr (AB)^(1/2) = sqrt(tr AB + 2 sqrt(det AB)), whether they commute or not.
TEST(FrechetDistance, OfNormalDistributionsWhoseCovariancesDoNotCommute) {
  Matrix a(2, 2), b(2, 2);
  a.values = {3, 1, 1, 2};
  b.values = {1, -0.5, -0.5, 4};
  const double trace = 3 * 1 + 2 * (1 * -0.5) + 2 * 4, determinant = (6 - 1) * (4 - 0.25);
  const double expected = 5 + 5 - 2 * std::sqrt(trace + 2 * std::sqrt(determinant));
  EXPECT_NEAR(frechet_distance(gaussian({0, 0}, a), gaussian({0, 0}, b)), expected, 1e-12);
  EXPECT_NEAR(frechet_distance(gaussian({0, 0}, b), gaussian({0, 0}, a)), expected, 1e-12);
}

TEST(FrechetDistance, IsThatOfScipyOnTheSameFeatures) {
  for (const Case& c : cases()) {
    const double found = frechet_distance(moments_of(c.x), moments_of(c.y));
    EXPECT_NEAR(found, c.golden["frechet_by_svd"].get<double>(), 1e-6 * found);
    EXPECT_NEAR(found, c.golden["frechet"].get<double>(), 1e-6 * found);
  }
}

TEST(FrechetDistance, OfASetFromItselfIsNothingEvenWhereItsCovarianceIsSingular) {
  const Moments moments = moments_of(golden_features("x", 10, 24));
  // The roots of rounding errors of the zero eigenvalues: 15 times sqrt(1e-16) at most.
  EXPECT_NEAR(frechet_distance(moments, moments), 0, 1e-6);
}

TEST(Moments, AreTheSameHoweverTheFeaturesCome) {
  const Features all = golden_features("x", 80, 12);
  const Moments whole = moments_of(all);
  MomentSums sums(12);
  for (const auto& [begin, end] : {std::pair{0, 1}, {1, 1}, {1, 30}, {30, 80}})
    sums.add({12, {all.row(begin), all.row(end)}});
  const Moments parts = sums.moments();
  EXPECT_EQ(parts.count, 80);
  for (size_t i = 0; i < whole.mean.size(); ++i) EXPECT_NEAR(parts.mean[i], whole.mean[i], 1e-14);
  for (size_t i = 0; i < whole.covariance.values.size(); ++i)
    EXPECT_NEAR(parts.covariance.values[i], whole.covariance.values[i], 1e-14);
  MomentSums one(12);
  one.add(first_of(all, 1));
  EXPECT_THROW((void)one.moments(), Error);
}

TEST(KernelDistance, IsThatOfNumpyOnAllImages) {
  for (const Case& c : cases()) {
    const int64_t m = std::min(c.x.count(), c.y.count());
    const KernelDistance found = kernel_distance(first_of(c.x, m), first_of(c.y, m), {.subsets = 3});
    EXPECT_EQ(found.subset_size, m);
    EXPECT_NEAR(found.mean, c.golden["kernel"].get<double>(), 1e-12);
    EXPECT_NEAR(found.std, 0, 1e-7);  // every subset is the whole set: the root of a rounding error
  }
}

TEST(KernelDistance, DrawsItsSubsetsByTheSeed) {
  const Features x = golden_features("x", 80, 12), y = golden_features("y", 60, 12);
  const auto distance = [&](uint64_t seed) {
    return kernel_distance(x, y, {.subsets = 20, .subset_size = 30, .seed = seed});
  };
  EXPECT_EQ(distance(1).mean, distance(1).mean);
  EXPECT_NE(distance(1).mean, distance(2).mean);
  EXPECT_GT(distance(1).std, 0);
  // The estimate is unbiased whatever the subsets: the mean of 20 lies within five of its standard errors,
  // and the means of the two sets differ by 1/4 in each dimension.
  const double all = kernel_distance(first_of(x, 60), y, {.subsets = 1}).mean;
  EXPECT_NEAR(distance(1).mean, all, 5 * distance(1).std / std::sqrt(20) + 0.05);
  EXPECT_THROW((void)kernel_distance(first_of(x, 1), y), Error);
}

TEST(PrecisionRecall, AreThoseOfNumpy) {
  for (const Case& c : cases()) {
    const PrecisionRecall found = precision_and_recall(c.x, c.y);
    EXPECT_DOUBLE_EQ(found.precision, c.golden["precision_recall"][0].get<double>());
    EXPECT_DOUBLE_EQ(found.recall, c.golden["precision_recall"][1].get<double>());
  }
}

TEST(PrecisionRecall, OfImagesFarFromAllOthersIsNothing) {
  const Features real = golden_features("x", 40, 6);
  Features far = real;
  for (float& value : far.values) value += 100;
  EXPECT_EQ(precision_and_recall(far, real).precision, 0);
  EXPECT_EQ(precision_and_recall(far, real).recall, 0);
  EXPECT_EQ(precision_and_recall(real, real).precision, 1);
  // Four images of the set lie in it, but cover little of it.
  const PrecisionRecall few = precision_and_recall(first_of(real, 4), real, 1);
  EXPECT_EQ(few.precision, 1);
  EXPECT_LT(few.recall, 1);
  EXPECT_THROW(CoveringSet(first_of(real, 3)), Error);
}

// More images than a block of distances holds.
TEST(NearestNeighbours, AreTheNearestOfAll) {
  const Features set = golden_features("x", 1300, 3), queries = golden_features("y", 5, 3);
  const auto found = nearest_neighbours(queries, set, 4);
  ASSERT_EQ(found.size(), 5u);
  for (int64_t q = 0; q < 5; ++q) {
    std::vector<std::pair<double, int64_t>> all;
    for (int64_t i = 0; i < set.count(); ++i) {
      double sum = 0;
      for (int64_t j = 0; j < 3; ++j) {
        const double difference = double{queries.row(q)[j]} - double{set.row(i)[j]};
        sum += difference * difference;
      }
      all.emplace_back(std::sqrt(sum), i);
    }
    std::sort(all.begin(), all.end());
    const auto& nearest = found[static_cast<size_t>(q)];
    ASSERT_EQ(nearest.size(), 4u);
    for (size_t i = 0; i < 4; ++i) {
      EXPECT_EQ(nearest[i].index, all[i].second);
      EXPECT_NEAR(nearest[i].distance, all[i].first, 1e-7);
    }
  }
  EXPECT_NEAR(nearest_neighbours(set, set, 1)[1200][0].distance, 0, 1e-7);
  EXPECT_THROW((void)nearest_neighbours(queries, first_of(set, 3), 4), Error);
}

}  // namespace
}  // namespace imago
