// Rows of the op table: sinusoid, embedding, embedding_backward.
#include <cmath>

#include "tests/kernels/op_table/op_table.h"

namespace imago::test {

namespace {

// The angle t f, up to 1000, is rounded once: that moves the sine by at most u |t f|. Then two
// roundings in it.
OpRow sinusoid_row() {
  OpRow row{.op = "sinusoid"};
  struct Size {
    int64_t n, e;
  };
  for (const Size& z : std::vector<Size>{{4, 128}, {1, 2}, {3, 33}, {128, 64}, {2, 1}}) {
    for (bool cos_first : {false, true}) {
      const int64_t half = z.e / 2;
      const auto run = [=](Bench& b) {
        const OperandType f32 = Bench::always(DType::kFloat32);
        const Draw times = [](int64_t i, double) {
          return i == 0 ? 999.0 : static_cast<double>(i * 37 % 1000);
        };
        const Draw frequencies = [=](int64_t i, double) {
          return std::pow(10000.0, -i / static_cast<double>(half));
        };
        const TensorRef t = b.input("t", {z.n}, f32, times);
        const TensorRef f = b.input("frequencies", {half}, f32, frequencies);
        const TensorRef y = b.output("y", {z.n, z.e}, roundings(1, 1000) + roundings(2));
        b.backend().sinusoid(t, f, cos_first, y);
      };
      row.cases.push_back({.name = str("N ", z.n, " E ", z.e, cos_first ? " cosine first" : ""),
                           .run = run,
                           .small = z.n * z.e <= 1000});
    }
  }
  return row;
}

struct Table {
  int64_t rows, e, n;
  std::string name() const { return str(rows, " rows, E ", e, ", N ", n); }
};
const std::vector<Table> kTables = {{10, 128, 16}, {1, 1, 1}, {7, 33, 40}, {1000, 64, 3}, {3, 5, 130}};

TensorRef labels(Bench& b, const Table& z) {
  const Draw draw = [=](int64_t i, double value) {
    return static_cast<double>((i + static_cast<int64_t>(100 * std::abs(value))) % z.rows);
  };
  return b.input("index", {z.n}, Bench::always(DType::kInt32), draw);
}

void run_embedding(Bench& b, const Table& z) {
  const TensorRef table = b.input("table", {z.rows, z.e}), index = labels(b, z);
  b.backend().embedding(table, index, b.output("y", {z.n, z.e}, exact()));
}

OpRow embedding_row() {
  OpRow row{.op = "embedding"};
  for (const Table& z : kTables) {
    row.cases.push_back(
        {.name = z.name(), .run = [=](Bench& b) { run_embedding(b, z); }, .small = z.rows * z.e <= 5000});
  }
  return row;
}

// At most N rows of dy fall on one row of the table, and are added to what was there.
OpRow embedding_backward_row() {
  OpRow row{.op = "embedding_backward"};
  for (const Table& z : kTables) {
    const auto run = [=](Bench& b) {
      const TensorRef dy = b.input("dy", {z.n, z.e}), index = labels(b, z);
      const TensorRef dtable = b.added_to("dtable", {z.rows, z.e}, sum_of(static_cast<double>(z.n) + 1));
      b.backend().embedding_backward(dy, index, dtable);
    };
    row.cases.push_back(
        {.name = z.name(), .run = run, .small = z.rows * z.e <= 5000, .forward = [=](Bench& b) {
           run_embedding(b, z);
         }});
  }
  return row;
}

}  // namespace

std::vector<OpRow> embedding_rows() {
  return {sinusoid_row(), embedding_row(), embedding_backward_row()};
}

}  // namespace imago::test
