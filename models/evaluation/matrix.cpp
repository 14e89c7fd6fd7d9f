#include "models/evaluation/matrix.h"

#include <algorithm>
#include <cmath>
#include <limits>

#include "kernels/error.h"

namespace imago {
namespace {

constexpr int64_t kTileRows = 6, kTileColumns = 8;  // of c, in registers
constexpr int64_t kDepth = 256;                     // of a panel of b: it stays in the first cache

// c[r][j] += sum_k a[r][k] panel[k][j] for as many rows and columns as a tile has.
void add_tile(const double* a, int64_t stride, const double* panel, int64_t depth, int64_t rows,
              int64_t columns, double* c, int64_t c_stride) {
  double sums[kTileRows][kTileColumns] = {};
  const double* row[kTileRows];  // rows that there are not are the last one again
  for (int64_t r = 0; r < kTileRows; ++r) row[r] = a + std::min(r, rows - 1) * stride;
  for (int64_t k = 0; k < depth; ++k) {
    for (int64_t r = 0; r < kTileRows; ++r) {
      const double factor = row[r][k];
#pragma omp simd
      for (int64_t j = 0; j < kTileColumns; ++j) sums[r][j] += factor * panel[k * kTileColumns + j];
    }
  }
  for (int64_t r = 0; r < rows; ++r)
    for (int64_t j = 0; j < columns; ++j) c[r * c_stride + j] += sums[r][j];
}

// x <- (I - beta v v^T) x = +-|x| e_1, v_1 = 1 (Golub & Van Loan, algorithm 5.1.1). Leaves v in x.
struct Reflection {
  double beta, alpha;  // alpha: what stands in place of x_1
};
Reflection reflect(std::vector<double>& x) {
  double tail = 0;
  for (size_t i = 1; i < x.size(); ++i) tail += x[i] * x[i];
  const double first = x[0], length = std::sqrt(first * first + tail);
  x[0] = 1;
  if (tail == 0) return {0, first};
  const double v = first <= 0 ? first - length : -tail / (first + length);
  for (size_t i = 1; i < x.size(); ++i) x[i] /= v;
  return {2 * v * v / (tail + v * v), length};
}

// The eigenvalues of the tridiagonal matrix with this diagonal d [n] and e [n-1] beside it take d's place.
class TridiagonalSolver {
 public:
  TridiagonalSolver(std::vector<double>& d, std::vector<double>& e) : d_(d), e_(e) {}

  void solve() {
    constexpr int kMostSteps = 60;  // two or three are usual
    int steps = 0;
    for (size_t end = d_.size(); end > 1;) {  // rows from end on are done
      const size_t last = end - 1;
      size_t begin = last;  // of the block that ends here and does not fall apart
      while (begin > 0 && !negligible(begin - 1)) --begin;
      if (begin == last) {
        end = last;
        steps = 0;
        continue;
      }
      check(++steps <= kMostSteps, "symmetric_eigenvalues: no convergence");
      step(begin, last);
    }
  }

 private:
  bool negligible(size_t i) const {
    const double scale = std::abs(d_[i]) + std::abs(d_[i + 1]);
    return std::abs(e_[i]) <= std::numeric_limits<double>::epsilon() * scale ||
           std::abs(e_[i]) < std::numeric_limits<double>::min();
  }

  // Of the block's last 2 x 2 matrix, the eigenvalue that is nearer to its last element.
  double wilkinson_shift(size_t last) const {
    const double e = e_[last - 1], half = (d_[last - 1] - d_[last]) / 2;
    return d_[last] - e * e / (half + std::copysign(std::hypot(half, e), half));
  }

  // One rotation after the other moves what does not belong down and out.
  void step(size_t begin, size_t last) {
    double x = d_[begin] - wilkinson_shift(last), z = e_[begin];
    for (size_t k = begin; k < last; ++k) {
      const double r = std::hypot(x, z), c = r == 0 ? 1 : x / r, s = r == 0 ? 0 : z / r;
      if (k > begin) e_[k - 1] = r;
      const double upper = d_[k], lower = d_[k + 1], e = e_[k];
      d_[k] = c * c * upper + 2 * c * s * e + s * s * lower;
      d_[k + 1] = s * s * upper - 2 * c * s * e + c * c * lower;
      e_[k] = c * s * (lower - upper) + (c * c - s * s) * e;
      if (k + 1 == last) break;
      x = e_[k];
      z = s * e_[k + 1];
      e_[k + 1] *= c;
    }
  }

  std::vector<double>&d_, &e_;
};

}  // namespace

Matrix transposed(const Matrix& a) {
  Matrix t(a.columns, a.rows);
  constexpr int64_t kBlock = 32;
#pragma omp parallel for
  for (int64_t j0 = 0; j0 < a.columns; j0 += kBlock)
    for (int64_t i = 0; i < a.rows; ++i)
      for (int64_t j = j0; j < std::min(j0 + kBlock, a.columns); ++j) t.at(j, i) = a.at(i, j);
  return t;
}

void add_product(const Matrix& a, const Matrix& b, Matrix& c) {
  check(a.columns == b.columns && c.rows == a.rows && c.columns == b.rows, "add_product: shapes");
#pragma omp parallel for schedule(dynamic)
  for (int64_t j = 0; j < b.rows; j += kTileColumns) {
    const int64_t columns = std::min(kTileColumns, b.rows - j);
    std::vector<double> panel(static_cast<size_t>(kDepth * kTileColumns));  // [kDepth, kTileColumns]
    for (int64_t k0 = 0; k0 < a.columns; k0 += kDepth) {
      const int64_t depth = std::min(kDepth, a.columns - k0);
      for (int64_t n = 0; n < columns; ++n)
        for (int64_t k = 0; k < depth; ++k)
          panel[static_cast<size_t>(k * kTileColumns + n)] = b.at(j + n, k0 + k);
      for (int64_t i = 0; i < a.rows; i += kTileRows)
        add_tile(a.row(i) + k0, a.columns, panel.data(), depth, std::min(kTileRows, a.rows - i), columns,
                 c.row(i) + j, c.columns);
    }
  }
}

// Row k is the column of what is left of a that has the largest element on the diagonal, divided by its root.
Matrix pivoted_cholesky(const Matrix& a) {
  check(a.rows == a.columns, "pivoted_cholesky: a square matrix");
  const int64_t D = a.rows;
  std::vector<double> left;  // the diagonal of what is left
  for (int64_t i = 0; i < D; ++i) left.push_back(a.at(i, i));
  Matrix r(D, D);
  const double first = D > 0 ? *std::max_element(left.begin(), left.end()) : 0;
  const double least = static_cast<double>(D) * std::numeric_limits<double>::epsilon() * first;
  int64_t rank = 0;
  for (; rank < D; ++rank) {
    const auto largest = std::max_element(left.begin(), left.end());
    if (!(*largest > least)) break;
    const int64_t pivot = largest - left.begin();
    const double root = std::sqrt(*largest);
    constexpr int64_t kPiece = 512;
    double* row = r.row(rank);
#pragma omp parallel for if (D > kPiece)
    for (int64_t j0 = 0; j0 < D; j0 += kPiece) {
      const int64_t end = std::min(j0 + kPiece, D);
      for (int64_t j = j0; j < end; ++j) row[j] = a.at(pivot, j);
      for (int64_t i = 0; i < rank; ++i) {
        const double factor = r.at(i, pivot);
        const double* earlier = r.row(i);
#pragma omp simd
        for (int64_t j = j0; j < end; ++j) row[j] -= factor * earlier[j];
      }
      for (int64_t j = j0; j < end; ++j) {
        row[j] /= root;
        left[static_cast<size_t>(j)] -= row[j] * row[j];
      }
    }
    left[static_cast<size_t>(pivot)] = 0;  // exactly
  }
  r.values.resize(static_cast<size_t>(rank * D));
  r.rows = rank;
  return r;
}

std::vector<double> symmetric_eigenvalues(Matrix a) {
  check(a.rows == a.columns, "symmetric_eigenvalues: a square matrix");
  const int64_t n = a.rows;
  std::vector<double> d, e;
  for (int64_t k = 0; k < n; ++k) {
    d.push_back(a.at(k, k));
    if (k + 1 == n) break;
    const int64_t rest = n - k - 1;  // the block that is still to do: rows and columns from k + 1 on
    std::vector<double> v, w(static_cast<size_t>(rest));
    for (int64_t i = 0; i < rest; ++i) v.push_back(a.at(k + 1 + i, k));
    const auto [beta, alpha] = reflect(v);
    e.push_back(alpha);
    if (beta == 0) continue;
      // w = p - (beta v.p / 2) v with p = beta A v, and A <- A - v w^T - w v^T
#pragma omp parallel for if (rest > 64)
    for (int64_t i = 0; i < rest; ++i) {
      const double* row = a.row(k + 1 + i) + k + 1;
      double sum = 0;
#pragma omp simd reduction(+ : sum)
      for (int64_t j = 0; j < rest; ++j) sum += row[j] * v[static_cast<size_t>(j)];
      w[static_cast<size_t>(i)] = beta * sum;
    }
    double product = 0;
    for (size_t i = 0; i < v.size(); ++i) product += v[i] * w[i];
    for (size_t i = 0; i < v.size(); ++i) w[i] -= beta * product / 2 * v[i];
#pragma omp parallel for if (rest > 64)
    for (int64_t i = 0; i < rest; ++i) {
      double* row = a.row(k + 1 + i) + k + 1;
      const double vi = v[static_cast<size_t>(i)], wi = w[static_cast<size_t>(i)];
#pragma omp simd
      for (int64_t j = 0; j < rest; ++j)
        row[j] -= vi * w[static_cast<size_t>(j)] + wi * v[static_cast<size_t>(j)];
    }
  }
  TridiagonalSolver(d, e).solve();
  return d;
}

}  // namespace imago
