// Matrices in float64: products, factors and eigenvalues against what is known of them.
#include "models/evaluation/matrix.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>

#include "tests/models/golden.h"

namespace imago {
namespace {

Matrix random_matrix(const std::string& name, int64_t rows, int64_t columns) {
  Matrix a(rows, columns);
  a.values = golden::uniform(name, rows * columns);
  return a;
}

/// a b^T by its definition.
Matrix plain_product(const Matrix& a, const Matrix& b) {
  Matrix c(a.rows, b.rows);
  for (int64_t i = 0; i < c.rows; ++i)
    for (int64_t j = 0; j < c.columns; ++j)
      for (int64_t k = 0; k < a.columns; ++k) c.at(i, j) += a.at(i, k) * b.at(j, k);
  return c;
}

void expect_near(const Matrix& a, const Matrix& b, double tolerance) {
  ASSERT_EQ(a.rows, b.rows);
  ASSERT_EQ(a.columns, b.columns);
  for (size_t i = 0; i < a.values.size(); ++i) ASSERT_NEAR(a.values[i], b.values[i], tolerance) << i;
}

TEST(Matrix, ProductsAreSumsOverTheCommonDimension) {
  for (const auto& [m, n, k] : {std::array{1, 1, 1}, {6, 8, 256}, {7, 9, 257}, {13, 31, 600}, {3, 5, 0}}) {
    const Matrix a = random_matrix("a", m, k), b = random_matrix("b", n, k);
    Matrix c = random_matrix("c", m, n), expected = plain_product(a, b);
    for (size_t i = 0; i < c.values.size(); ++i) expected.values[i] += c.values[i];
    add_product(a, b, c);
    expect_near(c, expected, 1e-12);  // 600 products of numbers below 1, each rounded to 1e-16
  }
}

TEST(Matrix, TransposedHasRowsForColumns) {
  const Matrix a = random_matrix("a", 45, 70), t = transposed(a);
  ASSERT_EQ(t.rows, 70);
  for (int64_t i = 0; i < 45; ++i)
    for (int64_t j = 0; j < 70; ++j) ASSERT_EQ(t.at(j, i), a.at(i, j));
}

TEST(PivotedCholesky, MultipliesBackToTheMatrix) {
  const Matrix x = random_matrix("x", 40, 60), a = plain_product(x, x);
  const Matrix r = pivoted_cholesky(a);  // [40,40]
  EXPECT_EQ(r.rows, 40);
  const Matrix columns = transposed(r);
  expect_near(plain_product(columns, columns), a, 1e-12);
}

TEST(PivotedCholesky, HasAsManyRowsAsTheMatrixHasRank) {
  const Matrix x = random_matrix("x", 40, 7), a = plain_product(x, x);  // of rank 7
  const Matrix r = pivoted_cholesky(a);
  EXPECT_EQ(r.rows, 7);
  const Matrix columns = transposed(r);
  expect_near(plain_product(columns, columns), a, 1e-12);
  EXPECT_EQ(pivoted_cholesky(Matrix(5, 5)).rows, 0);
}

TEST(SymmetricEigenvalues, OfMatricesWithKnownOnes) {
  // 2 on the diagonal and -1 beside it: 2 - 2 cos(pi k / (n + 1)), k = 1 .. n.
  constexpr int64_t n = 50;
  Matrix a(n, n);
  std::vector<double> expected;
  for (int64_t i = 0; i < n; ++i) {
    a.at(i, i) = 2;
    if (i > 0) a.at(i, i - 1) = a.at(i - 1, i) = -1;
    expected.push_back(2 - 2 * std::cos(M_PI * static_cast<double>(i + 1) / (n + 1)));
  }
  // The same matrix in another basis: H a H with the reflection H = I - 2 v v^T / v.v fills all of it.
  const std::vector<double> v = golden::uniform("v", n);
  double length = 0;
  for (const double x : v) length += x * x;
  Matrix h(n, n);
  for (int64_t i = 0; i < n; ++i)
    for (int64_t j = 0; j < n; ++j)
      h.at(i, j) = (i == j) - 2 * v[static_cast<size_t>(i)] * v[static_cast<size_t>(j)] / length;
  for (const Matrix& matrix : {a, plain_product(plain_product(h, a), h)}) {
    std::vector<double> found = symmetric_eigenvalues(matrix);
    std::sort(found.begin(), found.end());
    ASSERT_EQ(found.size(), expected.size());
    for (size_t i = 0; i < found.size(); ++i) EXPECT_NEAR(found[i], expected[i], 1e-13 * n);
  }
}

TEST(SymmetricEigenvalues, OfMatricesThatAreNearlyNothing) {
  EXPECT_TRUE(symmetric_eigenvalues(Matrix(0, 0)).empty());
  EXPECT_EQ(symmetric_eigenvalues(Matrix(4, 4)), std::vector<double>(4, 0));
  Matrix ones(6, 6);  // 6 once, 0 five times
  std::fill(ones.values.begin(), ones.values.end(), 1);
  std::vector<double> found = symmetric_eigenvalues(ones);
  std::sort(found.begin(), found.end());
  for (size_t i = 0; i < 5; ++i) EXPECT_NEAR(found[i], 0, 1e-14);
  EXPECT_NEAR(found[5], 6, 1e-14);
}

}  // namespace
}  // namespace imago
