// Rows of the op table: normal, q_sample, mse_loss, hybrid_loss, their gradients, sampler_step.
#include <algorithm>
#include <array>
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

/// More images, more channels.
Shape multiplied(const Shape& shape, int images, int channels) {
  Shape more;
  for (int i = 0; i < shape.rank(); ++i)
    more.push_back(shape[i] * (i == 0 ? images : 1) * (i == shape.rank() - 1 ? channels : 1));
  return more;
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

/// One timestep of the hybrid loss. Log variances and prediction are so that no probability is near 1e-12
/// unless most are far below.
struct BoundCase {
  const char* what;
  float error_scale, min_log, max_log;
  bool is_first = false;
};
const BoundCase kBoundCases[] = {
    {"divergence", 0.05f, -2.5f, -1.5f},
    {"divergence of equal means", 0, -2.5f, -1.5f},
    {"decoder", 0.004f, -9.5f, -9.0f, true},
    {"decoder far off", 1, -9.5f, -9.0f, true},
    {"decoder of equal means", 0, -9.5f, -9.0f, true},
};

HybridLossInputs hybrid_inputs(Bench& b, const Shape& shape, DType images, const BoundCase& c) {
  const bool bytes = images == DType::kUInt8;
  const Draw pixel = [=](int64_t i, double z) {  // the lowest, the highest, and what lies between
    const double at = i < 2 ? 2.0 * static_cast<double>(i) - 1 : std::clamp(z / 2, -1.0, 1.0);
    return bytes ? 127.5 * (at + 1) : at;
  };
  const Draw number = [=](int64_t i, double) {
    return std::array<double, 4>{c.error_scale, c.min_log, c.max_log, c.is_first ? 1.0 : 0.0}[i % 4];
  };
  HybridLossInputs in;
  in.lambda = 0.75f;
  in.prediction = b.input("prediction", multiplied(shape, 1, 2));
  in.target = b.input("target", shape, b.vectors());
  in.x0 = b.input("x0", shape, Bench::always(images), pixel);
  in.weight = b.input("weight", {shape[0]}, b.vectors(), [](int64_t, double z) { return std::abs(z); });
  in.bound = b.input("bound", {shape[0], 4}, Bench::always(DType::kFloat32), number);
  return in;
}

/// Of a term of the bound and of its derivative by l. With |o| <= kLargest, f is within [-2, 3], so l, of
/// some 16 at most, has 5 roundings of that size: a relative error of 100u in exp(-l) and, for the
/// divergence, where e^2 exp(-l) <= 0.35^2 exp(4.5) and exp(min_log - l) <= exp(2), as much of 20. The
/// decoder's ends are z = (1/255 -+ e) exp(-l/2) <= 7, off by 60u of themselves: the logarithm of a
/// probability moves by z^2 times that, its derivative, which is z^2/2, by as much of itself; a difference of
/// two probabilities that are within 20 times of it loses as much.
Tolerance of_bound(const BoundCase& c) {
  return c.is_first ? roundings(60 * 49 * 20) : roundings(100, 20);
}

void run_hybrid_loss(Bench& b, const Shape& shape, DType images, const BoundCase& c) {
  const HybridLossInputs in = hybrid_inputs(b, shape, images, c);
  const double elements = static_cast<double>(shape.numel() / shape[0]);
  // Positive terms, as in mse_loss.
  const Tolerance sum = factors(2 * std::sqrt(elements) + 8);
  b.backend().hybrid_loss(in, b.output("loss", {shape[0]}, b.vectors(), sum + in.lambda * of_bound(c)));
}

template <class Run>
void add_hybrid_cases(OpRow& row, const Run& run, bool gradient) {
  for (const Shape& shape : kBatches) {
    for (DType images : {DType::kUInt8, DType::kFloat32, DType::kBFloat16}) {
      for (const BoundCase& c : kBoundCases) {
        const bool bytes = images == DType::kUInt8;
        if (!bytes && !(c.is_first && is_small(shape))) continue;  // images are read at t = 0 alone
        OpCase each{.name = str(c.what, " ", shape, " ", name_of(images)),
                    .run = [=](Bench& b) { run(b, shape, images, c); },
                    .small = is_small(shape)};
        // The gradient leaves out what reaches m through the mean, which is nothing where means are equal.
        if (gradient && c.error_scale == 0)
          each.forward = [=](Bench& b) { run_hybrid_loss(b, shape, images, c); };
        row.cases.push_back(each);
      }
    }
  }
}

OpRow hybrid_loss_row() {
  OpRow row{.op = "hybrid_loss"};
  add_hybrid_cases(row, run_hybrid_loss, false);
  return row;
}

OpRow hybrid_loss_backward_row() {
  OpRow row{.op = "hybrid_loss_backward"};
  const auto run = [](Bench& b, const Shape& shape, DType images, const BoundCase& c) {
    const TensorRef dloss = b.input("dloss", {shape[0]}, b.vectors());
    const HybridLossInputs in = hybrid_inputs(b, shape, images, c);
    const double each = kLargest * static_cast<double>(in.lambda * (c.max_log - c.min_log)) / 2 /
                        static_cast<double>(shape.numel() / shape[0]);
    const Tolerance tolerance = factors(8) + each * of_bound(c);
    b.backend().hybrid_loss_backward(dloss, in, b.output("dprediction", multiplied(shape, 1, 2), tolerance));
  };
  add_hybrid_cases(row, run, true);
  return row;
}

/// What an update is given beside x and m.
struct SamplerCase {
  const char* what;
  SamplerStep step;
  int history = 0;
  bool guided = false, variance = false, limit = false, known = false, entry = false, input = false;
  bool in_place = false;  // y is x, the new entry lies where the oldest was
};

// All inputs are at most kLargest, coefficients at most 2.5. x0 and the guided output: at most 25 and 20, of
// four roundings each; y: at most 4 + j products of such; of the noise's standard deviation, at most e^1.25
// for v within +-6, three factors.
void run_sampler_step(Bench& b, const Shape& shape, const SamplerCase& c) {
  const int images = c.guided ? 2 : 1;
  const Shape output_shape = multiplied(shape, images, c.variance ? 2 : 1);
  const Shape input_shape = multiplied(shape, images, 1);
  const double size = (4 + c.history) * kLargest * (c.guided ? 4 : 1);
  const Tolerance tolerance = roundings(12 + 2 * c.history + 4 * c.guided + 8 * c.variance, size);
  SamplerTensors t;
  const TensorRef x =
      c.in_place ? b.in_place("x", shape, b.vectors(), tolerance) : b.input("x", shape, b.vectors());
  t.x = x;
  const Draw positive = [](int64_t, double z) { return std::abs(z); };
  t.m = b.input("m", output_shape, c.step.noise == StepNoise::kLearned ? positive : Draw());
  for (int j = 0; j < c.history; ++j) {
    const std::string name = "h" + std::to_string(j);
    const bool oldest = c.in_place && j == c.history - 1;
    const TensorRef h =
        oldest ? b.in_place(name, shape, b.vectors(), tolerance) : b.input(name, shape, b.vectors());
    t.history[j] = h;
    if (oldest) t.entry = h;
  }
  if (c.limit)
    t.limit = b.input("limit", {shape[0]}, b.vectors(), [](int64_t, double z) { return 1 + std::abs(z); });
  if (c.known) {
    t.known = b.input("known", shape, b.vectors());
    t.mask = b.input("mask", shape, b.vectors(), [](int64_t i, double z) { return i % 3 ? z > 0 : 0.5; });
  }
  t.y = c.in_place ? x : b.output("y", shape, b.vectors(), tolerance);
  if (c.entry && !c.in_place) t.entry = b.output("entry", shape, b.vectors(), tolerance);
  if (c.input) t.input = b.output("input", input_shape, tolerance);
  b.backend().sampler_step(t, c.step, b.key(shape[0]));
}

// Forward against the reference: every part of an update alone, and all of them together.
OpRow sampler_step_row() {
  OpRow row{.op = "sampler_step"};
  const SamplerStep ddpm{1.25f, -0.75f, 1, 0.5f, 0, 0.47f, 0.1f}, ddim{1.25f, -0.75f, 0, 0, 0.3f, 0.9f, 0};
  const SamplerStep everything{-0.6f, 1.9f, 2.5f, 0.7f, -0.4f, 1.1f, 0.8f};
  SamplerStep multistep{1.25f, -0.75f, 0, 0.5f, 0, 0.47f, 0, {0.8f, -0.5f, 0.3f}, 0.1f, -0.2f, 1};
  multistep.input_scale = 0.5f;
  SamplerStep learned = ddpm, range = ddpm, guided = ddim, known = ddim, all = everything;
  learned.noise = StepNoise::kLearned;
  range.noise = all.noise = StepNoise::kLearnedRange;
  range.min_log = all.min_log = -1.5f;
  range.max_log = all.max_log = -0.5f;
  guided.guidance = all.guidance = 1.5f;
  known.known_signal = all.known_signal = 0.8f;
  known.known_noise = all.known_noise = 0.6f;
  all.y_h[0] = 0.4f, all.y_h[1] = -0.3f, all.entry_x = 0.5f, all.entry_x0 = -0.5f, all.input_scale = 0.75f;
  const SamplerCase cases[] = {
      {.what = "ddpm", .step = ddpm},
      {.what = "ddim", .step = ddim, .input = true},
      {.what = "coefficients", .step = everything},
      {.what = "multistep", .step = multistep, .history = 3, .entry = true, .input = true},
      {.what = "learned", .step = learned, .variance = true},
      {.what = "learned range", .step = range, .variance = true, .input = true},
      {.what = "guided", .step = guided, .guided = true, .input = true},
      {.what = "limit", .step = ddim, .limit = true},
      {.what = "known", .step = known, .known = true},
      {.what = "everything",
       .step = all,
       .history = 2,
       .guided = true,
       .variance = true,
       .limit = true,
       .known = true,
       .entry = true,
       .input = true},
  };
  for (const Shape& shape : kBatches) {
    for (SamplerCase c : cases) {
      for (const bool in_place : {false, true}) {
        c.in_place = in_place;
        row.cases.push_back(
            {.name = std::string(c.what) + " " + shape.to_string() + (in_place ? " in place" : ""),
             .run = [=](Bench& b) { run_sampler_step(b, shape, c); },
             .small = is_small(shape)});
      }
    }
  }
  return row;
}

}  // namespace

std::vector<OpRow> diffusion_rows() {
  return {normal_row(),      q_sample_row(),
          mse_loss_row(),    mse_loss_backward_row(),
          hybrid_loss_row(), hybrid_loss_backward_row(),
          sampler_step_row()};
}

}  // namespace imago::test
