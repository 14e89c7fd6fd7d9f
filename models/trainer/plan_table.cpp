#include "models/trainer/plan_table.h"

#include <algorithm>
#include <cstdio>

#include "engine/report/progress.h"

namespace imago {

namespace {

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

std::string format_plan(const TrainingPlan& plan, const TrainConfig& c) {
  std::vector<Row> layers = {{"layer", "output", "parameters", "forward an image"}};
  for (const PlanLayer& l : plan.layers)
    layers.push_back({l.path, l.output.to_string(), with_thousands(l.parameters), flops_text(l.flops)});
  const std::string batch = str(" (batch of ", c.batch_size, ")");
  std::vector<Row> totals = {
      {"parameters", str(with_thousands(plan.parameters), " in ", plan.tensors, " tensors")},
      {"FLOPs an image, forward", flops_text(plan.forward_flops)},
      {"FLOPs an image, training", flops_text(plan.step_flops)},
      {"FLOPs an update", flops_text(plan.step_flops * c.images_per_step())},
      {"weights", bytes_text(plan.weights)},
      {"gradients", bytes_text(plan.gradients)},
      {"optimizer", bytes_text(plan.moments)},
      {"EMA", bytes_text(plan.ema)},
      {"activations" + batch, bytes_text(plan.activations)},
  };
  if (plan.program > 0) totals.push_back({"program and data set", bytes_text(plan.program)});
  if (plan.images > 0) totals.push_back({"decoded images", bytes_text(plan.images)});
  totals.push_back({"all memory, without the device's scratch space", bytes_text(plan.total())});
  return format_table(layers) + "\n" + format_table(totals);
}

}  // namespace imago
