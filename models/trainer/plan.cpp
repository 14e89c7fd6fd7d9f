#include "models/trainer/plan.h"

#include <algorithm>
#include <cstdio>
#include <map>

#include "engine/autograd/observer.h"
#include "engine/autograd/tape.h"
#include "engine/report/progress.h"
#include "engine/tensor/allocator.h"
#include "kernels/plan/plan_backend.h"

namespace imago {

namespace {

/// Parameters by the layer that owns them.
std::map<std::string, int64_t> parameters_by_layer(const FlatParameters& parameters) {
  std::map<std::string, int64_t> counts;
  for (const FlatParameters::Entry& e : parameters.entries())
    counts[e.name.substr(0, e.name.rfind('.'))] += e.parameter->shape.numel();
  return counts;
}

/// One forward pass, watched: an operation's cost is what was counted since the one before it. Consecutive
/// operations of a layer are one row.
std::vector<PlanLayer> watch_forward(UNet& model, const FlatParameters& parameters, const TrainConfig& c,
                                     const TrainingBatch& batch) {
  std::map<std::string, int64_t> owned = parameters_by_layer(parameters);
  std::vector<PlanLayer> layers;
  std::string last;
  const OpObserver watch([&](const std::string& layer, const std::string& op, const Tensor& y) {
    const std::string path = layer.empty() ? "(" + op + ")" : layer;
    if (layers.empty() || path != last) {
      layers.push_back({path, {}, owned[path], 0});
      owned[path] = 0;  // a layer that runs twice owns its parameters once
    }
    last = path;
    layers.back().output = y.shape();
    layers.back().flops += plan_counts().total.flops / c.batch_size;
    reset_plan_counts();
  });
  const NoGrad no_grad;  // and with that no gradient checkpointing
  const Tensor x = empty(batch.images.shape(), c.compute, Device::kPlan);  // [N,H,W,C]
  reset_plan_counts();
  model.forward(x, batch.timesteps, batch.class_labels);
  std::erase_if(layers, [](const PlanLayer& l) { return l.flops == 0 && l.parameters == 0; });  // reshapes
  return layers;
}

std::string scaled(double value, double base, std::initializer_list<const char*> units) {
  const char* const* unit = units.begin();
  while (value >= base && unit + 1 != units.end()) value /= base, ++unit;
  const int decimals = unit == units.begin() || value >= 100 ? 0 : value >= 10 ? 1 : 2;  // three digits
  char text[40];
  std::snprintf(text, sizeof text, "%.*f %s", decimals, value, *unit);
  return text;
}

std::string bytes_text(int64_t bytes) {
  return scaled(static_cast<double>(bytes), 1024, {"B", "KiB", "MiB", "GiB", "TiB"});
}
std::string flops_text(int64_t flops) {
  return scaled(static_cast<double>(flops), 1000, {"FLOP", "kFLOP", "MFLOP", "GFLOP", "TFLOP", "PFLOP"});
}

using Row = std::vector<std::string>;

/// Columns as wide as their widest text; the first to the left, the others to the right.
std::string format_table(const std::vector<Row>& rows) {
  std::vector<size_t> widths;
  for (const Row& row : rows) {
    widths.resize(std::max(widths.size(), row.size()));
    for (size_t i = 0; i < row.size(); ++i) widths[i] = std::max(widths[i], row[i].size());
  }
  std::string text;
  for (const Row& row : rows) {
    for (size_t i = 0; i < row.size(); ++i) {
      const std::string space(widths[i] - row[i].size(), ' ');
      text += i == 0 ? row[i] + (row.size() > 1 ? space : "") : "  " + space + row[i];
    }
    text += "\n";
  }
  return text;
}

}  // namespace

PlannedTraining::PlannedTraining(const TrainConfig& given)
    : config([&] {
        TrainConfig c = given;
        c.device = Device::kPlan;
        return c;
      }()),
      model(config.unet),
      parameters(model, {Device::kPlan, DType::kFloat32, config.compute, true}),
      optimizer(parameters, config.optimizer),
      loss(config.scheduler, {config.seed, config.compute, config.weighting, config.snr_gamma}),
      inputs(config, 1),
      dloss(empty({config.batch_size}, DType::kFloat32, Device::kPlan)) {
  model.set_gradient_checkpointing(config.gradient_checkpointing);
}

void PlannedTraining::step() {
  parameters.zero_gradients();
  for (int i = 0; i < config.gradient_accumulation_steps; ++i)
    run_micro_batch(model, loss, inputs.micro_batch(i), dloss, config.seed);
  optimizer.step(config.learning_rate);
}

TrainingPlan plan_training(const TrainConfig& config) {
  PlannedTraining training(config);
  const TrainConfig& c = training.config;
  const FlatParameters& parameters = training.parameters;
  TrainingPlan plan;
  plan.parameters = parameters.count();
  plan.tensors = static_cast<int64_t>(parameters.entries().size());
  const int64_t flat = parameters.padded();
  plan.weights = flat * 4 + (c.compute == DType::kBFloat16 ? flat * 2 : 0);
  plan.gradients = flat * 4;
  plan.moments = flat * 8;
  plan.ema = c.optimizer.ema ? flat * 4 : 0;
  plan.layers = watch_forward(training.model, parameters, c, training.inputs.micro_batch(0));
  for (const PlanLayer& layer : plan.layers) plan.forward_flops += layer.flops;
  Allocator& allocator = allocator_of(Device::kPlan);
  const int64_t before = allocator.stats().bytes_in_use;
  allocator.reset_peak();
  reset_plan_counts();
  training.step();
  plan.step_flops = plan_counts().total.flops / c.images_per_step();
  plan.activations = allocator.stats().peak_bytes - before;
  return plan;
}

std::string format_plan(const TrainingPlan& plan, const TrainConfig& c) {
  std::vector<Row> layers = {{"layer", "output", "parameters", "forward an image"}};
  for (const PlanLayer& l : plan.layers)
    layers.push_back({l.path, l.output.to_string(), with_thousands(l.parameters), flops_text(l.flops)});
  const std::string batch = str(" (batch of ", c.batch_size, ")");
  const std::vector<Row> totals = {
      {"parameters", str(with_thousands(plan.parameters), " in ", plan.tensors, " tensors")},
      {"FLOPs an image, forward", flops_text(plan.forward_flops)},
      {"FLOPs an image, training", flops_text(plan.step_flops)},
      {"FLOPs an update", flops_text(plan.step_flops * c.images_per_step())},
      {"weights", bytes_text(plan.weights)},
      {"gradients", bytes_text(plan.gradients)},
      {"optimizer", bytes_text(plan.moments)},
      {"EMA", bytes_text(plan.ema)},
      {"activations" + batch, bytes_text(plan.activations)},
      {"all memory, without the device's scratch space", bytes_text(plan.total())},
  };
  return format_table(layers) + "\n" + format_table(totals);
}

}  // namespace imago
