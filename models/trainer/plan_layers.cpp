#include "models/trainer/plan_layers.h"

#include <map>

#include "engine/autograd/observer.h"
#include "engine/autograd/tape.h"
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

}  // namespace

std::vector<PlanLayer> plan_layers(TrainingStep& step) {
  const TrainConfig& c = step.config();
  std::map<std::string, int64_t> owned = parameters_by_layer(step.parameters());
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
  const NoGrad no_grad;  // and with that nothing is computed twice
  const MicroBatch& batch = step.inputs().micro_batch(0);
  const Tensor x = empty(batch.images.shape(), c.compute, Device::kPlan);  // [N,H,W,C]
  reset_plan_counts();
  step.model().forward(x, batch.timesteps, batch.class_labels);  // [N,H,W,C]
  std::erase_if(layers, [](const PlanLayer& l) { return l.flops == 0 && l.parameters == 0; });
  return layers;
}

}  // namespace imago
