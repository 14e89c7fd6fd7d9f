#include "models/trainer/plan.h"

#include <algorithm>

#include "engine/data/image_cache.h"
#include "engine/data/loader.h"
#include "engine/tensor/allocator.h"
#include "kernels/plan/plan_backend.h"

namespace imago {

TrainingPlan plan_training(const TrainConfig& config) {
  TrainConfig c = config;
  c.device = Device::kPlan;
  TrainingStep step(c);
  TrainingPlan plan;
  plan.parameters = step.parameters().count();
  plan.tensors = static_cast<int64_t>(step.parameters().entries().size());
  const int64_t flat = step.parameters().padded();
  plan.weights = flat * 4 + (c.compute == DType::kBFloat16 ? flat * 2 : 0);
  plan.gradients = flat * 4;
  plan.moments = flat * 8;
  plan.ema = c.optimizer.ema ? flat * 4 : 0;
  plan.layers = plan_layers(step);
  for (const PlanLayer& layer : plan.layers) plan.forward_flops += layer.flops;
  Allocator& allocator = allocator_of(Device::kPlan);
  const int64_t before = allocator.stats().bytes_in_use;
  allocator.reset_peak();
  reset_plan_counts();
  step.begin(c.learning_rate);
  step.compute_gradients();
  step.update();
  plan.step_flops = plan_counts().total.flops / c.images_per_step();
  plan.activations = allocator.stats().peak_bytes - before;
  return plan;
}

int64_t decoded_bytes(int64_t images, const TrainConfig& c) {
  const size_t one = ImageCache::cost_of(static_cast<size_t>(c.height) * c.width * c.unet.in_channels);
  return static_cast<int64_t>(std::min(static_cast<size_t>(images) * one, LoaderOptions{}.cache_bytes));
}

}  // namespace imago
