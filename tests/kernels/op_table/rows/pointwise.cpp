// Rows of the op table: fill, copy, add, silu, silu_backward, relu, relu_backward, dropout; upsample2x,
// sum_pool2x; sinusoid, embedding, embedding_backward.
#include <cmath>

#include "tests/kernels/op_table/op_table.h"

namespace imago::test {

namespace {

// ---- Elementwise ----

// Ordinary, one element, odd, more than a thread block or a vector register takes evenly.
const std::vector<Shape> kShapes = {{2, 8, 8, 32}, {1}, {3, 5, 7}, {2, 1031}, {4, 64, 65}};

bool is_small(const Shape& shape) {
  return shape.numel() <= 5000;
}

/// The same on views that begin anywhere.
OpCase unaligned(OpCase c) {
  c.name += " unaligned";
  c.run = [run = c.run](Bench& b) {
    b.begin_unaligned();
    run(b);
  };
  return c;
}

OpRow fill_row() {
  OpRow row{.op = "fill"};
  for (const Shape& shape : kShapes) {
    const auto run = [=](Bench& b) {
      b.backend().fill(b.output("y", shape, exact()), 1.7);
      b.backend().fill(b.output("zero", shape, exact()), 0);
      for (DType t : {DType::kUInt8, DType::kInt32, DType::kInt64, DType::kFloat64}) {
        b.backend().fill(b.output(name_of(t), shape, Bench::always(t), exact()), 42);
      }
    };
    row.cases.push_back({.name = shape.to_string(), .run = run, .small = is_small(shape)});
  }
  return row;
}

// Every conversion rounds to nearest even: exact. What is not a float is copied within its type.
OpRow copy_row() {
  OpRow row{.op = "copy"};
  for (const Shape& shape : kShapes) {
    const Draw whole = [](int64_t i, double z) {
      return i % 3 ? static_cast<double>(i) : std::floor(100 * z);
    };
    const Draw pixel = [](int64_t i, double) { return static_cast<double>(i * 37 % 256); };
    const auto run = [=](Bench& b) {
      const OperandType f32 = Bench::always(DType::kFloat32), bf = Bench::always(DType::kBFloat16);
      const OperandType u8 = Bench::always(DType::kUInt8);
      const TensorRef x = b.input("x", shape);
      b.backend().copy(x, b.output("same", shape, exact()));
      b.backend().copy(b.input("f32", shape, f32), b.output("from f32", shape, exact()));
      b.backend().copy(b.input("bf16", shape, bf), b.output("from bf16", shape, exact()));
      b.backend().copy(b.input("u8", shape, u8, pixel), b.output("from u8", shape, exact()));
      b.backend().copy(x, b.output("to f32", shape, f32, exact()));
      b.backend().copy(x, b.output("to bf16", shape, bf, exact()));
      for (DType t : {DType::kUInt8, DType::kInt32, DType::kInt64}) {
        const TensorRef source =
            b.input(name_of(t), shape, Bench::always(t), t == DType::kUInt8 ? pixel : whole);
        b.backend().copy(source,
                         b.output(std::string(name_of(t)) + " copy", shape, Bench::always(t), exact()));
      }
    };
    row.cases.push_back({.name = shape.to_string(), .run = run, .small = is_small(shape)});
  }
  return row;
}

// Two products and a sum of numbers up to kLargest.
OpRow add_row() {
  OpRow row{.op = "add"};
  const float alpha = 0.7f, beta = -1.3f;
  const Tolerance tolerance = roundings(3, 2 * kLargest);
  for (const Shape& shape : kShapes) {
    const auto separate = [=](Bench& b) {
      const TensorRef a = b.input("a", shape), c = b.input("b", shape);
      b.backend().add(a, alpha, c, beta, b.output("y", shape, tolerance));
    };
    const auto onto_a = [=](Bench& b) {
      const TensorRef a = b.in_place("a", shape, b.activations(), tolerance);
      b.backend().add(a, alpha, b.input("b", shape), beta, a);
    };
    const auto onto_b = [=](Bench& b) {
      const TensorRef c = b.in_place("b", shape, b.activations(), tolerance);
      b.backend().add(b.input("a", shape), 1, c, 1, c);
    };
    row.cases.push_back({.name = shape.to_string(), .run = separate, .small = is_small(shape)});
    row.cases.push_back({.name = shape.to_string() + " y = a", .run = onto_a, .small = is_small(shape)});
    row.cases.push_back({.name = shape.to_string() + " y = b", .run = onto_b, .small = is_small(shape)});
  }
  return row;
}

// exp(-x) computed as 2^(-x log2 e): rounding the exponent costs |x| relative errors of u, a fast exp2 two
// more; then an addition, a division, a product. Where exp(x) is no longer a normal float (x < -87), it may
// be flushed: at most |x| 2^-126.
Tolerance silu_tolerance(double largest) {
  return factors(1.5 * largest + 6) + Tolerance{.absolute = largest * 0x1p-126};
}

/// x up to 5 in size, or as far as exp overflows in either direction.
Draw spread(bool wide) {
  return [wide](int64_t i, double z) { return wide && i % 2 ? 40 * z : z; };
}
double largest_of(bool wide) {
  return wide ? 40 * kLargest : kLargest;
}

OpRow silu_row() {
  OpRow row{.op = "silu"};
  for (const Shape& shape : kShapes) {
    for (bool wide : {false, true}) {
      const auto run = [=](Bench& b) {
        const TensorRef x = b.input("x", shape, spread(wide));
        b.backend().silu(x, b.output("y", shape, silu_tolerance(largest_of(wide))));
      };
      row.cases.push_back(
          {.name = shape.to_string() + (wide ? " wide" : ""), .run = run, .small = is_small(shape)});
    }
  }
  return row;
}

// dy s (1 + x (1 - s)): the bracket is at most 1.1 / s, but is a difference where x < 0. Its terms s and
// s x (1 - s) are at most 1 and each has the relative error of exp, |x| + 6, which x exp(x) keeps below 10.
OpRow silu_backward_row() {
  OpRow row{.op = "silu_backward"};
  for (const Shape& shape : kShapes) {
    for (bool wide : {false, true}) {
      const auto run = [=](Bench& b) {
        const TensorRef x = b.input("x", shape, spread(wide)), dy = b.input("dy", shape);
        b.backend().silu_backward(dy, x, b.output("dx", shape, roundings(20, kLargest)));
      };
      const auto forward = [=](Bench& b) {
        b.backend().silu(b.input("x", shape, spread(wide)), b.output("y", shape));
      };
      row.cases.push_back({.name = shape.to_string() + (wide ? " wide" : ""),
                           .run = run,
                           .small = is_small(shape),
                           .forward = forward});
    }
  }
  return row;
}

/// No number so close to zero that a finite difference crosses it.
Draw away_from_zero() {
  return [](int64_t, double z) { return z < 0 ? z - 0.1 : z + 0.1; };
}

OpRow relu_row() {
  OpRow row{.op = "relu"};
  for (const Shape& shape : kShapes) {
    const auto run = [=](Bench& b) { b.backend().relu(b.input("x", shape), b.output("y", shape, exact())); };
    const auto in_place = [=](Bench& b) {
      const TensorRef x = b.in_place("x", shape, b.activations(), exact());
      b.backend().relu(x, x);
    };
    row.cases.push_back({.name = shape.to_string(), .run = run, .small = is_small(shape)});
    row.cases.push_back({.name = shape.to_string() + " in place", .run = in_place, .small = is_small(shape)});
  }
  return row;
}

OpRow relu_backward_row() {
  OpRow row{.op = "relu_backward"};
  for (const Shape& shape : kShapes) {
    const auto run = [=](Bench& b) {
      const TensorRef x = b.input("x", shape, away_from_zero()), dy = b.input("dy", shape);
      b.backend().relu_backward(dy, x, b.output("dx", shape, exact()));
    };
    const auto forward = [=](Bench& b) {
      b.backend().relu(b.input("x", shape, away_from_zero()), b.output("y", shape));
    };
    row.cases.push_back(
        {.name = shape.to_string(), .run = run, .small = is_small(shape), .forward = forward});
  }
  return row;
}

// The mask is a comparison of exact numbers: no tolerance where an element is dropped.
OpRow dropout_row() {
  OpRow row{.op = "dropout"};
  for (const Shape& shape : kShapes) {
    for (float p : {0.0f, 0.1f, 0.75f}) {
      const auto backward = [=](Bench& b) {  // its own gradient
        b.backend().dropout(b.input("dy", shape), p, b.key(shape[0]), b.output("dx", shape, factors(3)));
      };
      const auto forward = [=](Bench& b) {
        b.backend().dropout(b.input("x", shape), p, b.key(shape[0]), b.output("y", shape));
      };
      const auto in_place = [=](Bench& b) {
        const TensorRef x = b.in_place("x", shape, b.activations(), factors(3));
        b.backend().dropout(x, p, b.key(shape[0]), x);
      };
      const std::string name = shape.to_string() + str(" p ", p);
      row.cases.push_back({.name = name, .run = backward, .small = is_small(shape), .forward = forward});
      row.cases.push_back({.name = name + " in place", .run = in_place, .small = is_small(shape)});
    }
  }
  return row;
}

// ---- Resampling: each of the two is the other's gradient ----

struct Resample {
  int64_t n, h, w, c;  // of the smaller side
  float scale;

  Shape low() const { return {n, h, w, c}; }
  Shape high() const { return {n, 2 * h, 2 * w, c}; }
  std::string name() const { return low().to_string() + str(" scale ", scale); }
};

const std::vector<Resample> kResamples = {{2, 4, 4, 32, 1}, {1, 1, 1, 1, 0.25f},   {3, 5, 7, 3, 0.25f},
                                          {2, 3, 2, 13, 1}, {1, 16, 16, 40, 0.3f}, {1, 2, 65, 8, 0.25f}};

// One product.
OpRow upsample2x_row() {
  OpRow row{.op = "upsample2x"};
  for (const Resample& z : kResamples) {
    const auto run = [=](Bench& b) {
      b.backend().upsample2x(b.input("dy", z.low()), z.scale, b.output("dx", z.high(), factors(1)));
    };
    const auto forward = [=](Bench& b) {
      b.backend().sum_pool2x(b.input("x", z.high()), z.scale, b.output("y", z.low()));
    };
    row.cases.push_back({.name = z.name(), .run = run, .small = z.low().numel() <= 1000, .forward = forward});
  }
  return row;
}

// Three additions, one product.
OpRow sum_pool2x_row() {
  OpRow row{.op = "sum_pool2x"};
  for (const Resample& z : kResamples) {
    const auto run = [=](Bench& b) {
      const Tolerance tolerance = z.scale * roundings(4, 2 * kLargest);
      b.backend().sum_pool2x(b.input("dy", z.high()), z.scale, b.output("dx", z.low(), tolerance));
    };
    const auto forward = [=](Bench& b) {
      b.backend().upsample2x(b.input("x", z.low()), z.scale, b.output("y", z.high()));
    };
    row.cases.push_back({.name = z.name(), .run = run, .small = z.low().numel() <= 1000, .forward = forward});
  }
  return row;
}

// ---- Embeddings ----

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

std::vector<OpRow> pointwise_rows() {
  std::vector<OpRow> rows = {fill_row(),          copy_row(), add_row(),           silu_row(),
                             silu_backward_row(), relu_row(), relu_backward_row(), dropout_row()};
  for (OpRow& row : rows) row.cases.push_back(unaligned(row.cases.front()));
  for (const OpRow& row :
       {upsample2x_row(), sum_pool2x_row(), sinusoid_row(), embedding_row(), embedding_backward_row()})
    rows.push_back(row);
  return rows;
}

}  // namespace imago::test
