// The training step: what it computes is the algorithm written out, its gradients come piece by piece, and
// all who run it run the same operations.
#include "models/trainer/training_step.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <map>

#include "engine/autograd/tape.h"
#include "engine/autograd/watched_backend.h"
#include "engine/nn/dropout.h"
#include "kernels/philox.h"
#include "kernels/plan/plan_backend.h"
#include "models/trainer/trainer.h"
#include "tests/support/tiny_training.h"

namespace imago {
namespace {

using test::Blobs;
using test::tiny_config;

/// Dropout, classes, two micro-batches: whatever a step's inputs decide.
TrainConfig config_on(Device device) {
  TrainConfig c = tiny_config(4);
  c.unet.dropout = 0.1;
  c.unet.num_class_embeds = 4;
  c.batch_size = 3;
  c.gradient_accumulation_steps = 2;
  c.device = device;
  return c;
}

/// Images, sample numbers and classes of the first step, made up, into the step's inputs.
void set_inputs(TrainingStep& step) {
  std::vector<Batch> ring = step.inputs().ring();
  int64_t id = 0;
  for (int i = 0; i < step.config().gradient_accumulation_steps; ++i) {
    Batch& batch = ring[static_cast<size_t>(i)];
    batch.slot = static_cast<size_t>(i);
    for (size_t at = 0; at < batch.images.size(); ++at)
      batch.images[at] = static_cast<uint8_t>(random_words(9, 0, i, static_cast<uint32_t>(at)).w0);
    for (size_t k = 0; k < batch.ids.size(); ++k, ++id) {
      batch.ids[k] = id;
      batch.labels[k] = static_cast<int32_t>(id % 4);
    }
    step.set_micro_batch(i, batch);
  }
}

std::vector<float> trained_part(const FlatParameters& parameters, const Tensor& flat) {
  return to_vector<float>(flat.slice(0, {parameters.trainable()}));
}

TEST(TrainingStepTest, IsTheAlgorithmWrittenOut) {
  const TrainConfig c = config_on(Device::kReference);
  TrainingStep step(c);
  step.initialize();
  set_inputs(step);
  step.begin(1e-3);
  step.compute_gradients();

  UNet model(c.unet);
  FlatParameters parameters(model, {.device = c.device});
  parameters.initialize(c.seed);
  AdamW optimizer(parameters, c.optimizer);
  optimizer.start_ema();
  const Objective objective(c.scheduler, {.seed = c.seed});
  const Tensor share = from_vector<float>({1 / 6.f, 1 / 6.f, 1 / 6.f}, {3}, c.device);
  std::vector<float> expected_losses;
  parameters.zero_gradients();
  for (int i = 0; i < 2; ++i) {
    const MicroBatch& batch = step.inputs().micro_batch(i);
    const DropoutScope training(c.seed, batch.ids);
    const auto [xt, target] = objective.noised(batch);                                 // [N,H,W,C] each
    const Tensor prediction = model.forward(xt, batch.timesteps, batch.class_labels);  // [N,H,W,C]
    const Tensor losses = objective.loss(prediction, target, batch);                   // [N]
    backward(losses, share);
    for (const float loss : to_vector<float>(losses)) expected_losses.push_back(loss);
  }
  const std::vector<float> gradients = to_vector<float>(step.parameters().gradients());
  EXPECT_EQ(gradients, to_vector<float>(parameters.gradients()));
  EXPECT_TRUE(std::any_of(gradients.begin(), gradients.end(), [](float g) { return g != 0; }));

  step.update();
  optimizer.step(1e-3);
  expected_losses.push_back(static_cast<float>(optimizer.grad_norm()));
  EXPECT_EQ(to_vector<float>(step.results()), expected_losses);
  EXPECT_EQ(to_vector<float>(step.parameters().values()), to_vector<float>(parameters.values()));
  EXPECT_EQ(to_vector<float>(step.optimizer().ema()), to_vector<float>(optimizer.ema()));
}

TEST(TrainingStepTest, ReportsEveryPieceOnceWhenItIsComplete) {
  for (const bool checkpointing : {false, true}) {
    TrainConfig c = config_on(Device::kCpu);
    c.gradient_checkpointing = checkpointing;
    TrainingStep silent(c);
    silent.initialize();
    set_inputs(silent);
    silent.begin(1e-3);
    silent.compute_gradients();

    TrainingStep step(c);
    step.initialize();
    std::map<int64_t, std::vector<float>> pieces;  // by offset
    int backward_passes = 0;
    step.on_phase_end([&](TrainingStep::Phase p) { backward_passes += p == TrainingStep::Phase::kBackward; });
    step.on_piece_complete([&](int64_t offset, int64_t size) {
      EXPECT_EQ(backward_passes, 1);  // the second one is going on
      EXPECT_GT(size, 0);
      const Tensor piece = step.parameters().gradients().slice(offset, {size});
      EXPECT_TRUE(pieces.emplace(offset, to_vector<float>(piece)).second) << offset;
    });
    set_inputs(step);
    step.begin(1e-3);
    step.compute_gradients();
    EXPECT_GE(pieces.size(), 8u);  // conv_in, two embeddings, 2 + 1 + 2 blocks, conv_norm_out, conv_out
    std::vector<float> reported;
    for (const auto& [offset, values] : pieces) {
      EXPECT_EQ(offset, static_cast<int64_t>(reported.size()));  // without gaps
      reported.insert(reported.end(), values.begin(), values.end());
    }
    EXPECT_EQ(reported, trained_part(step.parameters(), step.parameters().gradients()));
    EXPECT_EQ(reported, trained_part(silent.parameters(), silent.parameters().gradients()));
    pieces.clear();
    step.on_piece_complete({});
    backward_passes = 0;
    step.compute_gradients();
    EXPECT_TRUE(pieces.empty());
  }
}

/// Writes down the operations of a backend that it stands in front of.
class Recorder final : public WatchedBackend {
 public:
  using WatchedBackend::WatchedBackend;
  std::vector<std::string> operations;

 private:
  void watch(const Operation& o, const Call& call) override {
    operations.push_back(str(o.name, " ", o.shapes(), " in ", o.layer));
    call(inner());
  }
};

TEST(TrainingStepTest, IsOnThePlanDeviceWhatTheTrainerRuns) {
  for (const DType compute : {DType::kFloat32, DType::kBFloat16}) {
    TrainConfig c = config_on(Device::kCpu);
    c.compute = compute;
    Trainer trainer(c, std::make_shared<Blobs>(3, 4));
    trainer.step();
    Recorder real(cpu_backend());
    register_backend(Device::kCpu, real);
    trainer.step();
    register_backend(Device::kCpu, cpu_backend());

    c.device = Device::kPlan;
    TrainingStep step(c);
    Recorder planned(plan_backend());
    for (int i = 0; i < 2; ++i) {
      register_backend(Device::kPlan, planned);
      planned.operations.clear();
      step.begin(c.learning_rate);
      step.compute_gradients();
      step.update();
      register_backend(Device::kPlan, plan_backend());
    }
    EXPECT_GT(planned.operations.size(), 200u);
    EXPECT_EQ(real.operations, planned.operations);
  }
}

}  // namespace
}  // namespace imago
