// The trainer itself: what it computes, what it costs, and what it says when numbers go wrong.
#include <gtest/gtest.h>

#include <cmath>

#include "engine/tensor/allocator.h"
#include "models/trainer/plan.h"
#include "models/trainer/trainer.h"
#include "tests/support/temp_folder.h"
#include "tests/support/tiny_training.h"

namespace imago::test {
namespace {

std::vector<MetricsRow> train(const TrainConfig& config, int channels = 3) {
  Trainer trainer(config, std::make_shared<Blobs>(channels));
  std::vector<MetricsRow> rows;
  const auto take = [&](const std::vector<MetricsRow>& more) {
    rows.insert(rows.end(), more.begin(), more.end());
  };
  while (!trainer.finished()) take(trainer.step());
  take(trainer.flush());
  return rows;
}

double mean_loss(const std::vector<MetricsRow>& rows, size_t first, size_t count) {
  double sum = 0;
  for (size_t i = first; i < first + count; ++i) sum += rows[i].loss;
  return sum / static_cast<double>(count);
}

TEST(TrainerTest, Learns) {
  const auto rows = train(tiny_config(300));
  ASSERT_EQ(rows.size(), 300u);
  EXPECT_NEAR(mean_loss(rows, 0, 5), 1, 0.3);  // noise of variance one against about nothing
  EXPECT_LT(mean_loss(rows, 250, 50), 0.3);
  for (size_t i = 0; i < rows.size(); ++i) {
    EXPECT_EQ(rows[i].step, static_cast<int64_t>(i) + 1);
    EXPECT_EQ(rows[i].images, rows[i].step * 8);
    EXPECT_EQ(rows[i].epoch, static_cast<int64_t>(i) / 8);  // 64 images in batches of 8
    EXPECT_GT(rows[i].grad_norm, 0);
  }
}

TEST(TrainerTest, Bfloat16FollowsFloat32) {
  TrainConfig c = tiny_config(500);
  c.learning_rate =
      3e-4;  // at 1e-3 this tiny model is at the edge of stability and any rounding grows to percents
  const auto exact = train(c);
  c.compute = DType::kBFloat16;
  const auto rounded = train(c);
  // The same images, times and noise, so the curves can be compared piece by piece. Over six seeds the pieces
  // were within 0.13 % of each other.
  for (size_t first = 0; first < 500; first += 100) {
    const double a = mean_loss(exact, first, 100), b = mean_loss(rounded, first, 100);
    EXPECT_NEAR(b, a, 0.01 * a) << "steps " << first << " to " << first + 100;
  }
}

TEST(TrainerTest, SteadyStateAllocatesNothing) {
  for (const DType compute : {DType::kFloat32, DType::kBFloat16}) {
    for (const bool checkpointing : {false, true}) {
      TrainConfig c = tiny_config(12);
      c.compute = compute;
      c.gradient_checkpointing = checkpointing;
      c.gradient_accumulation_steps = 2;
      Trainer trainer(c, std::make_shared<Blobs>());
      for (int i = 0; i < 2; ++i) trainer.step();
      const MemoryStats two = allocator_of(Device::kCpu).stats();
      while (!trainer.finished()) trainer.step();
      const MemoryStats end = allocator_of(Device::kCpu).stats();
      EXPECT_EQ(end.device_allocations, two.device_allocations);
      EXPECT_EQ(end.bytes_in_use, two.bytes_in_use);
      EXPECT_EQ(end.peak_bytes, two.peak_bytes);
    }
  }
}

TEST(TrainerTest, AccumulationIsTheLargerBatch) {
  TrainConfig c = tiny_config(1);
  const auto whole = train(c);
  c.batch_size = 2;
  c.gradient_accumulation_steps = 4;
  const auto parts = train(c);
  ASSERT_EQ(parts.size(), 1u);
  EXPECT_EQ(parts[0].images, 8);
  EXPECT_NEAR(parts[0].loss, whole[0].loss, 1e-5);  // float32 sums in another order
  EXPECT_NEAR(parts[0].grad_norm, whole[0].grad_norm, 1e-4 * whole[0].grad_norm);
}

TEST(TrainerTest, GradientCheckpointingComputesTheSame) {
  TrainConfig c = tiny_config(4);
  c.unet.dropout = 0.2;
  const auto plain = train(c);
  c.gradient_checkpointing = true;
  const auto again = train(c);
  EXPECT_EQ(again[0].loss, plain[0].loss);  // forward is the same; the sums of gradients have another order
  for (size_t i = 0; i < plain.size(); ++i) {
    EXPECT_NEAR(again[i].loss, plain[i].loss, 1e-5 * plain[i].loss) << i;
    EXPECT_NEAR(again[i].grad_norm, plain[i].grad_norm, 1e-5 * plain[i].grad_norm) << i;
  }
}

TEST(TrainerTest, LookingLaterGivesTheSameRows) {
  TrainConfig c = tiny_config(11);
  const auto each = train(c);
  c.steps_in_flight = 4;  // as on a GPU: the update does not wait for the look
  const auto later = train(c);
  ASSERT_EQ(later.size(), each.size());
  for (size_t i = 0; i < each.size(); ++i) EXPECT_EQ(text_of(later[i]), text_of(each[i]));
}

/// What the trainer says when it stops at a number that is not finite; empty if it does not stop.
std::string complaint(Trainer& trainer) {
  try {
    while (!trainer.finished()) trainer.step();
    trainer.flush();
  } catch (const NonFiniteError& e) {
    EXPECT_EQ(e.fault, Fault::kFailure);
    return e.what();
  }
  return "";
}

TEST(TrainerTest, SaysWhereNumbersWentWrong) {
  TrainConfig c = tiny_config(8);
  Trainer trainer(c, std::make_shared<Blobs>());
  for (int i = 0; i < 3; ++i) trainer.step();
  // One infinite weight: step 4 is the first to see it, in that layer, in every image of the batch.
  const float infinity = std::numeric_limits<float>::infinity();
  const auto& entries = trainer.parameters().entries();
  const auto bad = std::find_if(entries.begin(), entries.end(),
                                [](const auto& e) { return e.name == "mid_block.resnets.0.conv2.weight"; });
  ASSERT_NE(bad, entries.end());
  upload(&infinity, trainer.parameters().view(trainer.parameters().values(), *bad).slice(0, {1}));
  const Objective objective(c.scheduler, {c.seed, c.compute, c.weighting, c.snr_gamma});
  const std::string expected =
      str("step 4: the loss or its gradient is not finite; the first such value came out of conv2d in layer "
          "mid_block.resnets.0.conv2, at timestep ",
          objective.timestep_of(3 * 8), " (image 0 of the batch)");
  EXPECT_EQ(complaint(trainer), expected);
}

TEST(TrainerTest, SaysTheSameWhenItLooksLater) {
  TrainConfig c = tiny_config(40);
  c.learning_rate = 1e30;  // the second step sees weights far beyond what can be multiplied
  Trainer each(c, std::make_shared<Blobs>());
  const std::string expected = complaint(each);
  EXPECT_NE(expected.find("step 2: "), std::string::npos) << expected;
  EXPECT_NE(expected.find("timestep "), std::string::npos) << expected;
  c.steps_in_flight = 16;
  Trainer later(c, std::make_shared<Blobs>());
  EXPECT_EQ(complaint(later), expected);  // found after the update, computed again from the start
}

TEST(TrainerTest, ComputesAFailureAgainFromTheLastCheckpoint) {
  const TempFolder folder;
  TrainConfig c = tiny_config(40);
  c.lr_scheduler = "linear";
  c.lr_warmup_steps = 1000000;
  c.learning_rate = 1e36;  // grows by 1e30 a step, from 0
  Trainer each(c, std::make_shared<Blobs>());
  const std::string expected = complaint(each);
  c.steps_in_flight = 16;
  Trainer later(c, std::make_shared<Blobs>());
  later.step();
  later.flush();
  later.save_checkpoint(folder / "checkpoint-1");
  EXPECT_EQ(complaint(later), expected);
}

TEST(TrainerTest, GreyAndColourAreMadeToFit) {
  TrainConfig c = tiny_config(2);
  EXPECT_EQ(train(c, 1).size(), 2u);
  c.unet.in_channels = c.unet.out_channels = 1;
  EXPECT_EQ(train(c, 3).size(), 2u);
}

TEST(TrainerTest, ClassLabelsReachTheModel) {
  TrainConfig c = tiny_config(3);
  c.unet.num_class_embeds = 4;
  const auto gradient_of_table = [](Trainer& t) {
    const auto& entries = t.parameters().entries();
    const auto e = std::find_if(entries.begin(), entries.end(),
                                [](const auto& x) { return x.name == "class_embedding.weight"; });
    return to_vector<float>(t.parameters().view(t.parameters().gradients(), *e));
  };
  Trainer trainer(c, std::make_shared<Blobs>(3, 2));
  trainer.step();
  const auto g = gradient_of_table(trainer);  // [4,64]: classes 0 and 1 occur, 2 and 3 do not
  const auto any = [&](size_t row) {
    return std::any_of(g.begin() + row * g.size() / 4, g.begin() + (row + 1) * g.size() / 4,
                       [](float x) { return x != 0; });
  };
  EXPECT_TRUE(any(0));
  EXPECT_TRUE(any(1));
  EXPECT_FALSE(any(2));
  EXPECT_FALSE(any(3));
  expect_bad_input({"num_class_embeds", "4", "5 classes"},
                   [&] { Trainer(c, std::make_shared<Blobs>(3, 5)); });
  expect_bad_input({"class labels", "64 blobs"}, [&] { Trainer(c, std::make_shared<Blobs>(3, 0)); });
}

TrainConfig tiny_config_of(SchedulerConfig::Kind kind, int steps) {
  TrainConfig c = tiny_config(steps);
  c.scheduler = defaults_of(kind);
  return c;
}

// The targets have about the variance of the noise at first: e (DDPM), e - x_0 with an image of mean square
// 0.8 (flow matching), and one by construction where images have that of sigma_data (EDM).
TEST(TrainerTest, EveryObjectiveLearns) {
  for (const auto kind : {SchedulerConfig::Kind::kFlowEuler, SchedulerConfig::Kind::kEdmEuler}) {
    const auto rows = train(tiny_config_of(kind, 150));
    const double first = mean_loss(rows, 0, 5), last = mean_loss(rows, 100, 50);
    EXPECT_GT(first, 0.5) << name_of(kind);
    EXPECT_LT(last, 0.4 * first) << name_of(kind);
    for (const MetricsRow& row : rows) EXPECT_TRUE(std::isfinite(row.loss));
  }
}

TEST(TrainerTest, EveryObjectiveGoesOnFromACheckpointInTheSameBits) {
  const TempFolder folder;
  using enum SchedulerConfig::Kind;
  for (const auto kind : {kDdpm, kFlowEuler, kEdmEuler}) {
    TrainConfig c = tiny_config_of(kind, 6);
    c.unet.num_class_embeds = 3;
    c.unet.imago_null_class = 2;
    c.class_dropout = 0.5;
    const auto data = std::make_shared<Blobs>(3, 2);
    Trainer whole(c, data);
    for (int i = 0; i < 3; ++i) whole.step();
    whole.save_checkpoint(folder / name_of(kind));
    while (!whole.finished()) whole.step();
    Trainer resumed(c, data);
    EXPECT_EQ(resumed.load_checkpoint(folder / name_of(kind)), std::vector<std::string>{});
    while (!resumed.finished()) resumed.step();
    EXPECT_EQ(to_vector<float>(resumed.parameters().values()), to_vector<float>(whole.parameters().values()));
    c.class_dropout = 0.25;
    const std::vector<std::string> warnings = Trainer(c, data).load_checkpoint(folder / name_of(kind));
    ASSERT_EQ(warnings.size(), 1u);
    EXPECT_NE(warnings[0].find("class_dropout 0.5, now it is 0.25"), std::string::npos) << warnings[0];
    c.scheduler = defaults_of(kind == kEdmEuler ? kFlowEuler : kEdmEuler);
    expect_bad_input({"another noise schedule"},
                     [&] { Trainer(c, data).load_checkpoint(folder / name_of(kind)); });
  }
}

TEST(TrainerTest, DroppedClassesTrainTheNullClass) {
  TrainConfig c = tiny_config(20);
  c.unet.num_class_embeds = 3;
  c.unet.imago_null_class = 2;
  const auto rows_of_table = [&](double class_dropout) {
    c.class_dropout = class_dropout;
    Trainer trainer(c, std::make_shared<Blobs>(3, 2));
    const auto& entries = trainer.parameters().entries();
    const auto e = std::find_if(entries.begin(), entries.end(),
                                [](const auto& x) { return x.name == "class_embedding.weight"; });
    const auto table = [&] {
      return to_vector<float>(trainer.parameters().view(trainer.parameters().values(), *e));  // [3,64]
    };
    const std::vector<float> before = table();
    while (!trainer.finished()) trainer.step();
    const std::vector<float> after = table();
    std::vector<bool> moved(3);
    for (size_t i = 0; i < before.size(); ++i)
      if (std::abs(after[i] - before[i]) > 1e-3) moved[i / 64] = true;  // weight decay alone: 2e-8 a step
    return moved;
  };
  EXPECT_EQ(rows_of_table(0), (std::vector<bool>{true, true, false}));
  EXPECT_EQ(rows_of_table(0.5), (std::vector<bool>{true, true, true}));
  c.unet.imago_null_class = 1;
  expect_bad_input({"imago_null_class", "1", "a class of the data"},
                   [&] { Trainer(c, std::make_shared<Blobs>(3, 2)); });
  c.unet.imago_null_class.reset();
  expect_bad_input({"class dropout", "imago_null_class"}, [&] { Trainer(c, std::make_shared<Blobs>(3, 2)); });
}

TEST(PlanTest, KnowsThePublishedModels) {
  TrainConfig c;
  c.unet = UNetConfig::train_unconditional(64);
  const TrainingPlan p = plan_training(c);
  EXPECT_EQ(p.parameters, 113673219);
  EXPECT_EQ(p.tensors, 450);
  int64_t by_layer = 0;
  for (const PlanLayer& l : p.layers) by_layer += l.parameters;
  EXPECT_EQ(by_layer, p.parameters);
  // Backward costs twice forward; the loss, the update and what is not a matrix product are little beside it.
  EXPECT_NEAR(static_cast<double>(p.step_flops) / static_cast<double>(p.forward_flops), 3, 0.1);
}

TEST(PlanTest, CountsAConvolutionAsTheFieldDoes) {
  const TrainConfig c = tiny_config(1);
  const TrainingPlan p = plan_training(c);
  const auto l =
      std::find_if(p.layers.begin(), p.layers.end(), [](const PlanLayer& x) { return x.path == "conv_in"; });
  ASSERT_NE(l, p.layers.end());
  EXPECT_EQ(l->output, (Shape{8, 8, 8, 16}));
  EXPECT_EQ(l->parameters, 3 * 3 * 3 * 16 + 16);
  const int64_t products = 2 * 8 * 8 * 16 * 3 * 3 * 3;
  EXPECT_GE(l->flops, products);
  EXPECT_LE(l->flops, products + 3 * 8 * 8 * 16);  // and a bias, a scale
}

TEST(PlanTest, FindsTheMemoryOfARealStep) {
  for (const DType compute : {DType::kFloat32, DType::kBFloat16}) {
    TrainConfig c = tiny_config(3);
    c.compute = compute;
    const TrainingPlan plan = plan_training(c);
    Allocator& allocator = allocator_of(Device::kCpu);
    const int64_t before = allocator.stats().bytes_in_use;
    allocator.reset_peak();
    Trainer trainer(c, std::make_shared<Blobs>());
    while (!trainer.finished()) trainer.step();
    const auto real = static_cast<double>(allocator.stats().peak_bytes - before);
    // The real one has scratch memory besides, which for layers this small is of the size of a few
    // activations.
    EXPECT_GE(real, 0.98 * static_cast<double>(plan.total()));
    EXPECT_LE(real, 1.3 * static_cast<double>(plan.total()));
  }
}

}  // namespace
}  // namespace imago::test
