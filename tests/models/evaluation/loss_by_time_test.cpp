// Loss by time: the training loss of the same draws, and how bins are cut.
#include "models/evaluation/loss_by_time.h"

#include <gtest/gtest.h>

#include "engine/autograd/tape.h"
#include "engine/nn/flat_parameters.h"
#include "tests/models/golden.h"

namespace imago {
namespace {

using enum SchedulerConfig::Kind;

constexpr uint64_t kSeed = 3;
constexpr int64_t kImages = 6;

UNetConfig tiny() {
  UNetConfig c;
  c.block_out_channels = {4, 8};
  c.down_block_types = {"DownBlock2D", "DownBlock2D"};
  c.up_block_types = {"UpBlock2D", "UpBlock2D"};
  c.norm_num_groups = 2;
  c.layers_per_block = 1;
  return c;
}

Tensor images() {
  std::vector<uint8_t> bytes;
  for (const double u : golden::uniform("bytes", kImages * 8 * 8 * 3))
    bytes.push_back(static_cast<uint8_t>(127.5 * (u + 1)));
  return from_vector(bytes, {kImages, 8, 8, 3}, Device::kCpu);
}

std::vector<int64_t> ids() {
  return {0, 1, 2, 3, 4, 5};
}

/// The losses that training computes for these samples.
std::vector<float> training_losses(UNet& model, const SchedulerConfig& scheduler) {
  const NoGrad no_grad;
  const Objective objective(scheduler, {.seed = kSeed});
  std::vector<float> times, coefficients;
  for (const int64_t id : ids()) {
    const SampleNumbers numbers = objective.numbers_of(id);
    times.push_back(numbers.time);
    coefficients.insert(coefficients.end(), numbers.coefficients.begin(), numbers.coefficients.end());
  }
  MicroBatch batch;
  batch.images = images();
  batch.ids = from_vector(ids(), {kImages}, Device::kCpu);
  batch.timesteps = from_vector(times, {kImages}, Device::kCpu);
  batch.coefficients = from_vector(coefficients, {kImages, 4}, Device::kCpu);
  batch.weights = from_vector(std::vector<float>(kImages, 1), {kImages}, Device::kCpu);
  const auto [xt, target] = objective.noised(batch);
  return to_vector<float>(objective.loss(model.forward(xt, batch.timesteps), target, batch));
}

TEST(LossByTime, IsTheTrainingLossOfEveryObjective) {
  for (const auto kind : {kDdpm, kFlowEuler, kEdmEuler}) {
    SCOPED_TRACE(name_of(kind));
    UNet model(tiny());
    FlatParameters parameters(model, {Device::kCpu, DType::kFloat32, DType::kFloat32, false});
    golden::fill(parameters);
    const SchedulerConfig scheduler = defaults_of(kind);
    LossByTime loss(scheduler, kSeed, DType::kFloat32);
    loss.add(model, images(), ids(), {});
    double mean = 0;
    for (const float of_image : training_losses(model, scheduler)) mean += double{of_image} / kImages;
    EXPECT_NEAR(loss.mean(), mean, 1e-5 * mean);
    EXPECT_EQ(loss.draws(), kImages);
  }
}

TEST(LossByTime, BinsHoldEveryDrawInTheOrderOfTimes) {
  UNet model(tiny());
  FlatParameters parameters(model, {Device::kCpu, DType::kFloat32, DType::kFloat32, false});
  golden::fill(parameters);
  LossByTime loss(defaults_of(kDdpm), kSeed, DType::kFloat32);
  loss.add(model, images(), ids(), {});
  const std::vector<LossBin> bins = loss.bins(4);
  ASSERT_EQ(bins.size(), 4u);
  int64_t draws = 0;
  double sum = 0, before = 0;
  for (const LossBin& bin : bins) {
    EXPECT_GE(bin.first, before);
    EXPECT_GE(bin.last, bin.first);
    EXPECT_LT(bin.last, 1000);
    before = bin.last;
    draws += bin.draws;
    sum += bin.loss * static_cast<double>(bin.draws);
  }
  EXPECT_EQ(draws, kImages);
  EXPECT_NEAR(sum / kImages, loss.mean(), 1e-12);
  EXPECT_EQ(loss.bins(100).size(), 6u);  // no bin is empty
}

TEST(LossByTime, NamesItsTimes) {
  const auto name = [](SchedulerConfig::Kind kind) {
    return LossByTime(defaults_of(kind), kSeed, DType::kFloat32).time_name();
  };
  EXPECT_EQ(name(kDdpm), "timestep");
  EXPECT_EQ(name(kFlowHeun), "noise share");
  EXPECT_EQ(name(kEdmEuler), "ln sigma");
}

}  // namespace
}  // namespace imago
