// Matrices in float64 on the host: what distances between sets of features are made of.
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

namespace imago {

/// [rows, columns], row by row.
struct Matrix {
  int64_t rows = 0, columns = 0;
  std::vector<double> values = {};

  Matrix() = default;
  Matrix(int64_t rows, int64_t columns)
      : rows(rows), columns(columns), values(static_cast<size_t>(rows * columns)) {}
  double* row(int64_t i) { return values.data() + i * columns; }
  const double* row(int64_t i) const { return values.data() + i * columns; }
  double& at(int64_t i, int64_t j) { return row(i)[j]; }
  double at(int64_t i, int64_t j) const { return row(i)[j]; }
};

Matrix transposed(const Matrix& a);

/// c += a b^T. a [M,K], b [N,K], c [M,N]. The same bits for any number of threads.
void add_product(const Matrix& a, const Matrix& b, Matrix& c);

/// The factor R [r,D] with R^T R = a of a symmetric matrix [D,D] without negative eigenvalues: Cholesky with
/// complete pivoting (Higham 1990), r its numerical rank. So a singular matrix has one too.
Matrix pivoted_cholesky(const Matrix& a);

/// The eigenvalues of a symmetric matrix, in no order: Householder's reduction to a tridiagonal matrix (Golub
/// & Van Loan, Matrix Computations, algorithm 8.3.1), and on that implicit QR steps with Wilkinson's shift
/// (8.3.3).
std::vector<double> symmetric_eigenvalues(Matrix a);

}  // namespace imago
