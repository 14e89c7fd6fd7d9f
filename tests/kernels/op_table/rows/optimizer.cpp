// Rows of the op table: norm, adamw. Flat float32 buffers only.
#include <cmath>
#include <cstring>

#include "tests/kernels/op_table/op_table.h"

namespace imago::test {

namespace {

// Summed in float64: the result's own rounding, which the suite adds, and that of the square root.
OpRow norm_row() {
  OpRow row{.op = "norm", .types = {DType::kFloat32}};
  for (int64_t count : {1, 7, 1000, 4096, 100003}) {
    const auto run = [=](Bench& b) {
      b.backend().norm(b.input("x", {count}), b.output("y", {1}, factors(1)), b.workspace());
    };
    row.cases.push_back({.name = str("P ", count), .run = run, .small = count <= 5000});
  }
  return row;
}

struct Update {
  const char* what;
  AdamWStep step;  // learning rate, betas, epsilon, decay, corrections, max_grad_norm, ema_decay
  float grad_norm;
  bool ema, p_bf16;
};

const std::vector<Update> kUpdates = {
    {"ordinary", {1e-2f, 0.9f, 0.999f, 1e-8f, 1e-2f, 0.271f, 0.002997001f, 1, 0.995f}, 3.5f, true, true},
    {"not clipped", {1e-2f, 0.9f, 0.999f, 1e-8f, 1e-2f, 0.271f, 0.002997001f, 10, 0.995f}, 3.5f, true, false},
    {"no clipping", {1e-3f, 0.95f, 0.99f, 1e-6f, 0, 0.9f, 0.8f, 0, 0}, 3.5f, false, true},
    {"bare", {1e-3f, 0.95f, 0.99f, 1e-6f, 1e-6f, 0.9f, 0.8f, -1, 0.9999f}, 1e30f, false, false},
};

// float32 arithmetic of at most six operations on each number. b1 m and (1 - b1) g may cancel: absolute, with
// 1 - beta rounded. v is a sum of positive terms: relative. The update m / c1 / (sqrt(v / c2) + eps) is at
// most rate * kLargest / c1 / sqrt(least v / c2), v being drawn from [0.01, ...). Of bfloat16 weights the
// tolerance is p's and the suite's rounding.
struct AdamWTolerances {
  Tolerance m, v, p;

  explicit AdamWTolerances(const AdamWStep& s) {
    const double largest_m = kLargest / s.correction1, least_root = std::sqrt(0.009 / s.correction2);
    const double update = s.learning_rate * largest_m / least_root;
    m = roundings(6, kLargest);
    v = factors(8);
    p = roundings(4, kLargest) + roundings(16, update);
  }
};

OpRow adamw_row() {
  OpRow row{.op = "adamw", .types = {DType::kFloat32}, .reference = DType::kFloat32};
  for (const Update& z : kUpdates) {
    for (int64_t count : {1, 37, 4096, 30001}) {
      const auto run = [=](Bench& b) {
        const auto* bytes = reinterpret_cast<const uint8_t*>(&z.step);
        const Draw byte = [bytes](int64_t i, double) { return static_cast<double>(bytes[i]); };
        const Draw norm = [&z](int64_t, double) { return static_cast<double>(z.grad_norm); };
        const Draw square = [](int64_t, double value) { return 0.01 + value * value; };
        const Shape flat{count};
        const OperandType f32 = Bench::always(DType::kFloat32), bf = Bench::always(DType::kBFloat16);
        const AdamWTolerances tolerances(z.step);

        const TensorRef g = b.input("g", flat), grad_norm = b.input("grad_norm", {1}, norm);
        const TensorRef step = b.input("step", {sizeof(AdamWStep)}, Bench::always(DType::kUInt8), byte);
        const TensorRef p = b.in_place("p", flat, f32, tolerances.p),
                        m = b.in_place("m", flat, f32, tolerances.m);
        const TensorRef v = b.in_place("v", flat, f32, tolerances.v, square);
        const TensorRef ema = z.ema ? b.in_place("ema", flat, f32, tolerances.p) : TensorRef();
        const TensorRef p_bf16 = z.p_bf16 ? b.output("p_bf16", flat, bf, tolerances.p) : TensorRef();
        b.backend().adamw(g, grad_norm, step, p, m, v, ema, p_bf16);
      };
      row.cases.push_back({.name = str(z.what, ", P ", count), .run = run, .small = count <= 5000});
    }
  }
  return row;
}

}  // namespace

std::vector<OpRow> optimizer_rows() {
  return {norm_row(), adamw_row()};
}

}  // namespace imago::test
