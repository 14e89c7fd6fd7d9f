#include "lab/cost_model/recorded_step.h"

#include "engine/tensor/allocator.h"
#include "kernels/plan/plan_backend.h"
#include "models/trainer/training_step.h"

namespace imago {

namespace {

/// Is the plan device as long as it lives.
class Recorder final : public WatchedBackend {
 public:
  Recorder() : WatchedBackend(plan_backend()) { register_backend(Device::kPlan, *this); }
  ~Recorder() override { register_backend(Device::kPlan, plan_backend()); }

  std::vector<RecordedOperation> operations;

 private:
  void watch(const Operation& operation, const Call& call) override {
    const PlanCount before = plan_counts().total;
    call(inner());
    const PlanCount& after = plan_counts().total;
    operations.push_back({operation, after.flops - before.flops, after.bytes - before.bytes});
  }
};

}  // namespace

std::vector<RecordedOperation> record_training_step(const TrainConfig& config) {
  allocator_of(Device::kPlan);  // keeps the backend it is made with: not one that ends with this function
  Recorder recorder;
  TrainConfig on_plan = config;
  on_plan.device = Device::kPlan;
  TrainingStep step(on_plan);
  for (int i = 0; i < 2; ++i) {
    recorder.operations.clear();
    step.begin(config.learning_rate);
    step.compute_gradients();
    step.update();
  }
  return std::move(recorder.operations);
}

}  // namespace imago
