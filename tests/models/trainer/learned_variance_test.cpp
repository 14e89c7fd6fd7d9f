// Training with a learned variance: the bound gets smaller, and checkpoints, accumulation and previews work
// as without.
#include <gtest/gtest.h>

#include "models/diffusion/ops.h"
#include "models/trainer/preview.h"
#include "models/trainer/trainer.h"
#include "tests/support/temp_folder.h"
#include "tests/support/tiny_training.h"

namespace imago::test {
namespace {

TrainConfig learned_config(int steps) {
  TrainConfig c = tiny_config(steps);
  c.scheduler.variance_type = "learned_range";
  c.scheduler.noise.num_train_timesteps = 50;
  c.scheduler.noise.beta_end = 0.3;
  c.unet.out_channels = 6;
  return c;
}

/// The prediction [N,H,W,2C] with this in the place of every variance.
Tensor with_variance(const Tensor& prediction, float o) {
  std::vector<float> values = to_vector<float>(prediction);
  for (size_t i = 0; i < values.size(); ++i)
    if (i % 6 >= 3) values[i] = o;
  return from_vector(values, prediction.shape(), prediction.device());
}

/// The mean of the terms of L_vlb, in nats, over the same 64 images with the same noise; with the variance as
/// the model says or, for all pixels, as `fixed` does.
double mean_bound(TrainingStep& step, std::optional<float> fixed = std::nullopt) {
  const NoGrad no_grad;
  const Blobs blobs;
  std::vector<Batch> ring = step.inputs().ring();
  Batch& batch = ring[0];
  double sum = 0;
  for (int64_t first = 0; first < blobs.size(); first += 8) {
    for (int64_t k = 0; k < 8; ++k) {
      const std::vector<uint8_t> pixels = blobs.image(first + k).pixels;
      std::copy(pixels.begin(), pixels.end(), batch.images.begin() + k * static_cast<int64_t>(pixels.size()));
      batch.ids[static_cast<size_t>(k)] = 1'000'000 + first + k;
    }
    step.set_micro_batch(0, batch);
    step.inputs().upload();
    const MicroBatch& on_device = step.inputs().micro_batch(0);
    const auto [xt, target] = step.objective().noised(on_device);       // [N,H,W,C] each
    Tensor prediction = step.model().forward(xt, on_device.timesteps);  // [N,H,W,2C]
    if (fixed) prediction = with_variance(prediction, *fixed);
    const Tensor none = zeros({8}, DType::kFloat32, Device::kCpu);                                     // [N]
    const Tensor bound = hybrid_loss(prediction, target, on_device.images, none, on_device.bound, 1);  // [N]
    for (const float b : to_vector<float>(bound)) sum += b;
  }
  return sum / static_cast<double>(blobs.size());
}

std::vector<std::string> steps_of(Trainer& trainer, int64_t until) {
  std::vector<std::string> rows;
  while (trainer.steps_done() < until)
    for (const MetricsRow& row : trainer.step()) rows.push_back(text_of(row));
  for (const MetricsRow& row : trainer.flush()) rows.push_back(text_of(row));
  return rows;
}

// By a better mean, and by variances that are better than either of the fixed ones.
TEST(LearnedVariance, TrainingLowersTheBound) {
  const TrainConfig c = learned_config(200);
  TrainingStep fresh(c);
  fresh.initialize();
  const double before = mean_bound(fresh);
  Trainer trainer(c, std::make_shared<Blobs>());
  steps_of(trainer, 200);
  const TempFolder folder;
  trainer.save_checkpoint(folder / "checkpoint");
  TrainConfig trained = c;
  trained.initial_weights = folder / "checkpoint" / "unet" / "diffusion_pytorch_model.safetensors";
  TrainingStep after(trained);
  after.initialize();
  const double bound = mean_bound(after);
  EXPECT_LT(bound, 0.5 * before);
  EXPECT_LT(bound, mean_bound(after, -1));  // fixed_small
  EXPECT_LT(bound, mean_bound(after, 1));   // fixed_large
}

TEST(LearnedVariance, GoesOnFromACheckpointWithTheSameBits) {
  for (const DType compute : {DType::kFloat32, DType::kBFloat16}) {
    TrainConfig c = learned_config(6);
    c.compute = compute;
    c.gradient_accumulation_steps = 2;
    const TempFolder folder;
    Trainer whole(c, std::make_shared<Blobs>());
    const std::vector<std::string> rows = steps_of(whole, 6);
    std::vector<std::string> parts;
    {
      Trainer first(c, std::make_shared<Blobs>());
      parts = steps_of(first, 3);
      first.save_checkpoint(folder / "checkpoint-3");
    }
    Trainer second(c, std::make_shared<Blobs>());
    EXPECT_TRUE(second.load_checkpoint(folder / "checkpoint-3").empty());
    for (const std::string& row : steps_of(second, 6)) parts.push_back(row);
    EXPECT_EQ(parts, rows);
    EXPECT_EQ(to_vector<float>(second.parameters().values()), to_vector<float>(whole.parameters().values()));
    EXPECT_EQ(to_vector<float>(second.optimizer().ema()), to_vector<float>(whole.optimizer().ema()));
  }
}

TEST(LearnedVariance, AccumulationIsTheLargerBatch) {
  TrainConfig c = learned_config(1);
  Trainer whole(c, std::make_shared<Blobs>());
  const MetricsRow a = whole.step().at(0);
  c.batch_size = 2;
  c.gradient_accumulation_steps = 4;
  Trainer parts(c, std::make_shared<Blobs>());
  const MetricsRow b = parts.step().at(0);
  EXPECT_NEAR(b.loss, a.loss, 1e-5 * a.loss);  // float32 sums in another order
  EXPECT_NEAR(b.grad_norm, a.grad_norm, 1e-4 * a.grad_norm);
}

TEST(LearnedVariance, PreviewsAreDrawn) {
  Trainer trainer(learned_config(1), std::make_shared<Blobs>());
  trainer.step();
  for (const bool ddim : {false, true}) {
    PreviewOptions o;
    o.images = 4, o.batch_size = 4, o.inference_steps = 3, o.ddim = ddim;
    const Image grid = sample_preview(trainer, o);
    EXPECT_EQ(grid.width, 2 * 8 + 2);  // and a gap
    EXPECT_EQ(grid.channels, 3);
  }
}

}  // namespace
}  // namespace imago::test
