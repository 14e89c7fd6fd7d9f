// Rows of the op table: normal, q_sample, mse_loss, mse_loss_backward, sampler_step.
#include <algorithm>
#include <cmath>

#include "tests/kernels/op_table/op_table.h"

namespace imago::test {

namespace {

// Images whose size is a multiple of four (a Philox quad), is not, is one; more images than threads.
const std::vector<Shape> kBatches = {{2, 8, 8, 3}, {1, 1},        {3, 5, 7, 3},
                                     {2, 1031},    {40, 2, 3, 1}, {2, 64, 65, 3}};

bool is_small(const Shape& shape) {
  return shape.numel() <= 3000;
}

// The same bits on every device: kernels/philox.h.
OpRow normal_row() {
  OpRow row{.op = "normal"};
  for (const Shape& shape : kBatches) {
    const auto run = [=](Bench& b) { b.backend().normal(b.key(shape[0]), b.output("y", shape, exact())); };
    row.cases.push_back({.name = shape.to_string(), .run = run, .small = is_small(shape)});
  }
  return row;
}

// Two products and a sum, of coefficients up to 1 with images and noise up to kLargest + 2; a byte's scaling.
OpRow q_sample_row() {
  OpRow row{.op = "q_sample"};
  for (const Shape& shape : kBatches) {
    for (DType images : {DType::kUInt8, DType::kFloat32, DType::kBFloat16}) {
      const bool bytes = images == DType::kUInt8;
      const auto run = [=](Bench& b) {
        const Draw byte = [](int64_t i, double z) {
          return i < 2 ? 255.0 * i : std::clamp(128 + 60 * z, 0.0, 255.0);
        };
        const Draw unit = [](int64_t i, double) { return std::cos(static_cast<double>(i)); };
        const TensorRef x0 = b.input("x0", shape, Bench::always(images), bytes ? byte : Draw());
        const TensorRef coefficients = b.input("coefficients", {shape[0], 4}, b.vectors(), unit);
        const Tolerance tolerance = roundings(5, kLargest + 2);
        const TensorRef xt = b.output("xt", shape, tolerance);
        const TensorRef target = b.output("target", shape, b.vectors(), tolerance);
        b.backend().q_sample(x0, coefficients, b.key(shape[0]), xt, target);
      };
      row.cases.push_back(
          {.name = shape.to_string() + " " + name_of(images), .run = run, .small = is_small(shape)});
    }
  }
  return row;
}

void run_mse_loss(Bench& b, const Shape& shape) {
  const TensorRef prediction = b.input("prediction", shape);
  const TensorRef target = b.input("target", shape, b.vectors()),
                  weight = b.input("weight", {shape[0]}, b.vectors());
  // M positive terms of mean 2: partial sums 2k, so the roundings are a walk of u 2 sqrt(sum k^2 / 3),
  // relative to the sum 2M: u sqrt(M) / 3; five deviations, and some for the terms' own.
  const double elements = static_cast<double>(shape.numel() / shape[0]);
  const TensorRef loss = b.output("loss", {shape[0]}, b.vectors(), factors(2 * std::sqrt(elements) + 6));
  b.backend().mse_loss(prediction, target, weight, loss);
}

OpRow mse_loss_row() {
  OpRow row{.op = "mse_loss"};
  for (const Shape& shape : kBatches) {
    row.cases.push_back({.name = shape.to_string(),
                         .run = [=](Bench& b) { run_mse_loss(b, shape); },
                         .small = is_small(shape)});
  }
  return row;
}

// A difference (exact to u of itself), and a factor made of three.
OpRow mse_loss_backward_row() {
  OpRow row{.op = "mse_loss_backward"};
  for (const Shape& shape : kBatches) {
    const auto run = [=](Bench& b) {
      const TensorRef dloss = b.input("dloss", {shape[0]}, b.vectors()),
                      prediction = b.input("prediction", shape);
      const TensorRef target = b.input("target", shape, b.vectors());
      const TensorRef weight = b.input("weight", {shape[0]}, b.vectors());
      const TensorRef dprediction = b.output("dprediction", shape, factors(6));
      b.backend().mse_loss_backward(dloss, prediction, target, weight, dprediction);
    };
    row.cases.push_back(
        {.name = shape.to_string(), .run = run, .small = is_small(shape), .forward = [=](Bench& b) {
           run_mse_loss(b, shape);
         }});
  }
  return row;
}

// x0: two products and a sum; y: four products and three sums. All numbers at most kLargest, coefficients
// at most 2.
OpRow sampler_step_row() {
  OpRow row{.op = "sampler_step"};
  struct Setting {
    const char* what;
    SamplerStep step;
  };
  for (const Setting& s :
       std::vector<Setting>{{"ddpm", {1.25f, -0.75f, 1, 0.5f, 0, 0.47f, 0.1f}},
                            {"ddim", {1.25f, -0.75f, 0, 0, 0.3f, 0.9f, 0}},
                            {"everything", {-0.6f, 1.9f, 2.5f, 0.7f, -0.4f, 1.1f, 0.8f}}}) {
    for (const Shape& shape : kBatches) {
      const Tolerance tolerance = roundings(12, 4 * kLargest);
      const auto run = [=](Bench& b) {
        const TensorRef x = b.input("x", shape, b.vectors()), m = b.input("m", shape);
        b.backend().sampler_step(x, m, s.step, b.key(shape[0]), b.output("y", shape, b.vectors(), tolerance));
      };
      const auto in_place = [=](Bench& b) {
        const TensorRef x = b.in_place("x", shape, b.vectors(), tolerance), m = b.input("m", shape);
        b.backend().sampler_step(x, m, s.step, b.key(shape[0]), x);
      };
      const std::string name = std::string(s.what) + " " + shape.to_string();
      row.cases.push_back({.name = name, .run = run, .small = is_small(shape)});
      row.cases.push_back({.name = name + " in place", .run = in_place, .small = is_small(shape)});
    }
  }
  return row;
}

}  // namespace

std::vector<OpRow> diffusion_rows() {
  return {normal_row(), q_sample_row(), mse_loss_row(), mse_loss_backward_row(), sampler_step_row()};
}

}  // namespace imago::test
