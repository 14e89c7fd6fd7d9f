// Rows of the op table: attention, attention_backward.
#include <algorithm>
#include <cmath>

#include "tests/kernels/op_table/op_table.h"

namespace imago::test {

namespace {

struct Heads {
  int64_t n, t;
  int heads;
  int64_t d;
  double sharpness = 1;  // standard deviation of the scores: scale = sharpness / sqrt(D)

  float scale() const { return static_cast<float>(sharpness / std::sqrt(static_cast<double>(d))); }
  Shape tokens() const { return {n, t, heads * d}; }
  Shape rows() const { return {n, heads, t}; }
  std::string name() const {
    return str("N ", n, " T ", t, " heads ", heads, " D ", d,
               sharpness != 1 ? str(" sharpness ", sharpness) : "");
  }
  bool is_small() const { return n * heads * t * t * d <= 700000; }
};

// T and D that are multiples of tiles, one off, and tiny; every head dimension between 8 and 256 that a U-Net
// has, a larger one, and one that does not come in eights. Tiles are of 64 tokens, of 32 with D > 128: {1,
// 130, 1, 8} to {1, 36, 1, 200} go around every kernel's loop at least twice. On wgmma tiles are of 64
// tokens, and {1, 130, 1, 40} and {1, 200, 1, 136} go around every ring.
const std::vector<Heads> kHeads = {
    {2, 16, 4, 8},   {2, 1, 1, 8},     {1, 2, 2, 16},        {1, 3, 2, 16},       {1, 64, 1, 64},
    {2, 65, 2, 32},  {1, 63, 1, 40},   {1, 256, 1, 64},      {1, 100, 1, 256},    {2, 33, 1, 128},
    {1, 130, 3, 24}, {1, 49, 2, 80},   {1, 17, 1, 160},      {1, 257, 2, 8},      {3, 16, 8, 8},
    {1, 20, 1, 256}, {1, 40, 1, 64},   {1, 48, 2, 32, 30.0}, {1, 33, 1, 16, 4.0}, {1, 130, 1, 8},
    {1, 70, 1, 24},  {1, 70, 1, 56},   {1, 66, 1, 72},       {1, 36, 1, 200},     {1, 9, 1, 272},
    {1, 130, 1, 40}, {1, 200, 1, 136}, {1, 33, 1, 44},
};

// A score scale q.k is a sum of D unit products, error 4 u D scale; it lies within 5 sharpness, whose
// rounding and whose exponential cost a relative 2 * 5 u sharpness and some 8 u more. So the relative error
// of P is:
double p_error(const Heads& z) {
  return kU * (4 * z.sharpness * std::sqrt(static_cast<double>(z.d)) + 2 * kLargest * z.sharpness + 8);
}

// y = sum_j P_ij v_j: relative errors of the terms, independent, make an error of that many times the rms of
// the row; P's own sum has them too. In bfloat16 P itself is rounded to u = 2^-8 for the tensor cores:
// uniform in +-u, deviation u / sqrt(3), five of those. The sum over T adds 4 u sqrt(T) of its result.
Tolerance y_tolerance(const Bench& b, const Heads& z) {
  const double operand = b.is_bf16() ? 3 * kUBf16 : 0;
  return {.of_rms = 2 * p_error(z) + operand + 4 * kU * std::sqrt(static_cast<double>(z.t))};
}

void run_attention(Bench& b, const Heads& z) {
  const TensorRef q = b.input("q", z.tokens()), k = b.input("k", z.tokens()), v = b.input("v", z.tokens());
  const TensorRef y = b.output("y", z.tokens(), y_tolerance(b, z));
  const TensorRef lse = b.output("lse", z.rows(), b.vectors(), Tolerance{p_error(z), 4 * kU});
  b.backend().attention(q, k, v, z.heads, z.scale(), y, lse, b.workspace());
}

OpRow attention_row() {
  OpRow row{.op = "attention"};
  for (const Heads& z : kHeads) {
    row.cases.push_back(
        {.name = z.name(), .run = [=](Bench& b) { run_attention(b, z); }, .small = z.is_small()});
  }
  return row;
}

// dS = P (dP - delta): P as above; dP and delta are sums of D unit products, each with an error of 4 u D
// beside their size sqrt(D). Relative to dS that is 8 u sqrt(D), but where a row is sharp, dP - delta cancels
// and the error stays: absolutely scale P 8 u D in a term of dq or dk, and sqrt(sum P^2) <= sqrt(T) over a
// column. In bfloat16 P and dS are rounded as operands: two roundings, 5 sqrt(2) / sqrt(3) u.
Tolerance backward_tolerance(const Bench& b, const Heads& z) {
  const double t = static_cast<double>(z.t), d = static_cast<double>(z.d);
  const double operands = b.is_bf16() ? 4.1 * kUBf16 : 0;
  return {.absolute = std::max(1.0f, z.scale()) * 8 * kU * d * std::sqrt(t),
          .of_rms = 2 * p_error(z) + 8 * kU * std::sqrt(d) + 4 * kU * std::sqrt(t) + operands};
}

OpRow attention_backward_row() {
  OpRow row{.op = "attention_backward"};
  for (const Heads& z : kHeads) {
    const auto run = [=](Bench& b) {
      const Shape s = z.tokens();
      const Tolerance tolerance = backward_tolerance(b, z);
      const TensorRef q = b.input("q", s), k = b.input("k", s), v = b.input("v", s);
      const TensorRef dy = b.input("dy", s), y = b.input("y", s), lse = b.input("lse", z.rows(), b.vectors());
      const TensorRef dq = b.output("dq", s, tolerance), dk = b.output("dk", s, tolerance);
      const TensorRef dv = b.output("dv", s, tolerance);
      b.backend().attention_backward(dy, q, k, v, y, lse, z.heads, z.scale(), dq, dk, dv, b.workspace());
    };
    row.cases.push_back({.name = z.name(), .run = run, .small = z.is_small(), .forward = [=](Bench& b) {
                           run_attention(b, z);
                         }});
  }
  return row;
}

}  // namespace

std::vector<OpRow> attention_rows() {
  return {attention_row(), attention_backward_row()};
}

}  // namespace imago::test
