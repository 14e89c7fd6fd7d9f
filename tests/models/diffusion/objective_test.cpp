// The training loss: times, noise, targets and weights are functions of (seed, sample) and are what they
// should be.
#include <gtest/gtest.h>

#include "kernels/philox.h"
#include "models/diffusion/objective.h"
#include "models/diffusion/streams.h"
#include "models/unet/unet.h"
#include "tests/models/golden.h"

namespace imago {
namespace {

constexpr uint64_t kSeed = 42;
constexpr int64_t kPixels = 8 * 8 * 3;

UNetConfig tiny() {
  UNetConfig c;
  c.block_out_channels = {4, 8};
  c.down_block_types = {"DownBlock2D", "DownBlock2D"};
  c.up_block_types = {"UpBlock2D", "UpBlock2D"};
  c.norm_num_groups = 2;
  c.layers_per_block = 1;
  return c;
}

struct Model {
  explicit Model(Device device, DType master = DType::kFloat32, DType compute = DType::kFloat32)
      : unet(tiny()), parameters(unet, {.device = device, .master = master, .compute = compute}) {
    golden::fill(parameters);
  }
  UNet unet;
  FlatParameters parameters;
};

std::vector<uint8_t> bytes(int64_t n) {
  std::vector<uint8_t> b;
  for (const double u : golden::uniform("bytes", n * kPixels))
    b.push_back(static_cast<uint8_t>(127.5 * (u + 1)));
  return b;
}

MicroBatch batch_of(const Objective& objective, const Tensor& images, const std::vector<int64_t>& ids) {
  std::vector<float> times, coefficients, weights;
  for (const int64_t id : ids) {
    const SampleNumbers numbers = objective.numbers_of(id);
    times.push_back(numbers.time);
    coefficients.insert(coefficients.end(), numbers.coefficients.begin(), numbers.coefficients.end());
    weights.push_back(numbers.weight);
  }
  const auto n = static_cast<int64_t>(ids.size());
  const Device device = images.device();
  return {images,
          from_vector(ids, {n}, device),
          from_vector(times, {n}, device),
          from_vector(coefficients, {n, 4}, device),
          from_vector(weights, {n}, device),
          {},
          {}};
}

MicroBatch batch(const Objective& objective, const std::vector<int64_t>& ids, Device device) {
  const auto n = static_cast<int64_t>(ids.size());
  return batch_of(objective, from_vector(bytes(n), {n, 8, 8, 3}, device), ids);
}

Tensor losses_of(const Objective& objective, UNet& model, const MicroBatch& batch) {
  const auto [xt, target] = objective.noised(batch);                                 // [N,H,W,C] each
  const Tensor prediction = model.forward(xt, batch.timesteps, batch.class_labels);  // [N,H,W,C]
  return objective.loss(prediction, target, batch);                                  // [N]
}

SchedulerConfig config_of(PredictionType type) {
  SchedulerConfig c;
  c.prediction_type = type;
  return c;
}

// The loss written out by hand, in float64: x_t and the target from Philox and alpha_bar, the mean square on
// the host.
TEST(Objective, IsWhatThePaperSays) {
  Model m(Device::kReference, DType::kFloat64, DType::kFloat64);
  const std::vector<int64_t> ids = {7, 123456789012};
  const std::vector<uint8_t> pixels = bytes(2);
  for (const auto type : {PredictionType::kEpsilon, PredictionType::kSample, PredictionType::kVPrediction}) {
    const Objective objective(config_of(type), {.seed = kSeed, .activations = DType::kFloat64});
    const std::vector<double> losses =
        to_vector<double>(losses_of(objective, m.unet, batch(objective, ids, Device::kReference)));
    const std::vector<int> timesteps = {objective.timestep_of(ids[0]), objective.timestep_of(ids[1])};
    ASSERT_EQ(losses.size(), 2);
    std::vector<double> xt, target;
    for (int n = 0; n < 2; ++n) {
      EXPECT_EQ(objective.numbers_of(ids[n]).time, timesteps[n]);
      const double ab = objective.schedule().alpha_bar(timesteps[n]);
      for (int64_t i = 0; i < kPixels; ++i) {
        const double x0 = pixels[n * kPixels + i] / 127.5 - 1;
        const double e = normal_at(kSeed, random_stream(DiffusionPurpose::kNoise), ids[n], i);
        xt.push_back(std::sqrt(ab) * x0 + std::sqrt(1 - ab) * e);
        target.push_back(type == PredictionType::kEpsilon  ? e
                         : type == PredictionType::kSample ? x0
                                                           : std::sqrt(ab) * e - std::sqrt(1 - ab) * x0);
      }
    }
    const Tensor times = timesteps_tensor(tiny(), timesteps, Device::kReference);
    const std::vector<double> prediction =
        to_vector<double>(m.unet.forward(from_vector(xt, {2, 8, 8, 3}, Device::kReference), times));
    for (int n = 0; n < 2; ++n) {
      double sum = 0;
      for (int64_t i = n * kPixels; i < (n + 1) * kPixels; ++i)
        sum += (prediction[i] - target[i]) * (prediction[i] - target[i]);
      EXPECT_NEAR(losses[n] / (sum / kPixels), 1, 1e-6) << name_of(type);  // coefficients are float32
    }
  }
}

// A sample's loss is the same bits in any batch.
TEST(Objective, DoesNotDependOnTheBatch) {
  Model m(Device::kCpu);
  const Objective objective(SchedulerConfig{}, {.seed = kSeed});
  const std::vector<float> together =
      to_vector<float>(losses_of(objective, m.unet, batch(objective, {5, 6, 7}, Device::kCpu)));
  const Tensor images = from_vector(bytes(3), {3, 8, 8, 3}, Device::kCpu);
  for (int n = 0; n < 3; ++n) {
    const MicroBatch alone = batch_of(objective, images.slice(n * kPixels, {1, 8, 8, 3}), {5 + n});
    EXPECT_EQ(to_vector<float>(losses_of(objective, m.unet, alone)), std::vector<float>{together[n]});
  }
}

// bfloat16 activations, float32 coefficients, targets and loss: within a few roundings of 2^-9 of the float32
// loss.
TEST(Objective, BFloat16FollowsFloat32) {
  Model exact(Device::kCpu), rounded(Device::kCpu, DType::kFloat32, DType::kBFloat16);
  const std::vector<int64_t> ids = {1, 2, 3, 4};
  const auto losses = [&](Model& m, DType activations) {
    const Objective objective(SchedulerConfig{}, {.seed = kSeed, .activations = activations});
    return to_vector<float>(losses_of(objective, m.unet, batch(objective, ids, Device::kCpu)));
  };
  const std::vector<float> a = losses(exact, DType::kFloat32), b = losses(rounded, DType::kBFloat16);
  EXPECT_NE(a, b);
  EXPECT_LE(golden::relative_error(b, a), 0.02);
}

TEST(Objective, TimesAreUniformAndBelongToTheSample) {
  const Objective objective(SchedulerConfig{}, {.seed = kSeed}),
      other(SchedulerConfig{}, {.seed = kSeed + 1});
  constexpr int kDraws = 200000, kBins = 20;
  std::vector<int> bins(kBins);
  int equal = 0;
  for (int64_t id = 0; id < kDraws; ++id) {
    const int t = objective.timestep_of(id);
    ASSERT_TRUE(t >= 0 && t < 1000);
    ++bins[t * kBins / 1000];
    equal += t == other.timestep_of(id);
  }
  double chi_square = 0;
  const double expected = static_cast<double>(kDraws) / kBins;
  for (const int count : bins) chi_square += (count - expected) * (count - expected) / expected;
  EXPECT_LT(chi_square, 43.8);  // 19 degrees of freedom, p = 0.001
  EXPECT_NEAR(equal, kDraws / 1000, 5 * std::sqrt(kDraws / 1000.0));
}

// The share of dropped classes is the one asked for, whichever samples they are, and is independent of their
// times.
TEST(Objective, ClassesAreDroppedBySample) {
  constexpr int kDraws = 100000;
  const Objective objective(SchedulerConfig{}, {.seed = kSeed, .class_dropout = 0.1});
  int dropped = 0, early = 0;
  for (int64_t id = 0; id < kDraws; ++id) {
    const SampleNumbers numbers = objective.numbers_of(id);
    dropped += numbers.class_dropped;
    early += numbers.class_dropped && numbers.time < 500;
  }
  EXPECT_NEAR(dropped, 0.1 * kDraws, 5 * std::sqrt(0.1 * 0.9 * kDraws));
  EXPECT_NEAR(early, dropped / 2.0, 5 * std::sqrt(dropped / 4.0));
  const Objective keeps(SchedulerConfig{}, {.seed = kSeed});
  for (int64_t id = 0; id < 1000; ++id) EXPECT_FALSE(keeps.numbers_of(id).class_dropped);
  EXPECT_THROW(Objective(SchedulerConfig{}, {.class_dropout = 1}), Error);
}

SchedulerConfig edm(PredictionType type = PredictionType::kEpsilon) {
  SchedulerConfig c = defaults_of(SchedulerConfig::Kind::kEdmEuler);
  c.prediction_type = type;
  return c;
}
SchedulerConfig flow_matching() {
  return defaults_of(SchedulerConfig::Kind::kFlowEuler);
}

// lambda (D(y) - x_0)^2 with D(y) = c_skip y + c_out F(c_in y; c_noise), y = x_0 + sigma e and lambda =
// (sigma^2 + sd^2) / (sigma sd)^2, for whatever F says (Karras 2022, equation 8 and table 1).
TEST(Objective, EdmIsTheWeightedErrorOfTheDenoiser) {
  constexpr double kEps = 6e-8;  // of a coefficient in float32
  for (const auto type : {PredictionType::kEpsilon, PredictionType::kVPrediction}) {
    const Objective objective(edm(type), {.seed = kSeed});
    for (int64_t id = 0; id < 200; ++id) {
      const SampleNumbers n = objective.numbers_of(id);
      const double sigma =
          std::exp(-1.2 + 1.2 * normal_at(kSeed, random_stream(DiffusionPurpose::kTimesteps), id, 0));
      EXPECT_NEAR(n.time, std::log(sigma) / 4, 2 * kEps);
      const double x0 = uniform_at(1, 1, id, 0) * 2 - 1, e = normal_at(1, 2, id, 0),
                   f = normal_at(1, 3, id, 0);
      const double sd = 0.5, sum = sigma * sigma + sd * sd, y = x0 + sigma * e;
      const double c_skip = sd * sd / sum, c_in = 1 / std::sqrt(sum);
      const double c_out = (type == PredictionType::kVPrediction ? -1 : 1) * sigma * sd / std::sqrt(sum);
      const double input = n.coefficients[0] * x0 + n.coefficients[1] * e;
      EXPECT_NEAR(input, c_in * y, 2 * kEps * (c_in * (std::abs(x0) + sigma * std::abs(e))));
      const double error = c_skip * y + c_out * f - x0;
      const double target = n.coefficients[2] * x0 + n.coefficients[3] * e;
      const double size = std::abs(n.coefficients[2] * x0) + std::abs(n.coefficients[3] * e) + std::abs(f);
      EXPECT_NEAR(n.weight * (f - target) * (f - target), sum / (sigma * sigma * sd * sd) * error * error,
                  4 * kEps * size * size);
    }
  }
}

// The target is the derivative of x_s by s, and the time T s.
TEST(Objective, FlowMatchingPredictsTheVelocity) {
  for (const double shift : {1.0, 3.0}) {
    SchedulerConfig c = flow_matching();
    c.shift = shift;
    const Objective objective(c, {.seed = kSeed, .levels = LevelDistribution{0.5, 2}});
    for (int64_t id = 0; id < 200; ++id) {
      const SampleNumbers n = objective.numbers_of(id);
      const double z = normal_at(kSeed, random_stream(DiffusionPurpose::kTimesteps), id, 0);
      const double drawn = 1 / (1 + std::exp(-0.5 - 2 * z));
      const double s = shift * drawn / (1 + (shift - 1) * drawn);
      EXPECT_NEAR(n.time, 1000 * s, 1e-4);
      EXPECT_NEAR(n.coefficients[0], 1 - s, 1e-7);
      EXPECT_NEAR(n.coefficients[1], s, 1e-7);
      EXPECT_EQ(n.coefficients[2], -1);
      EXPECT_EQ(n.coefficients[3], 1);
      EXPECT_EQ(n.weight, 1);
    }
  }
}

// Levels are normally distributed with the mean and the deviation asked for, and their quarters are equally
// filled.
TEST(Objective, LevelsAreDistributedAsAsked) {
  constexpr int kDraws = 100000;
  for (const LevelDistribution levels : {LevelDistribution{-1.2, 1.2}, LevelDistribution{0.3, 0.7}}) {
    const Objective objective(edm(), {.seed = kSeed, .levels = levels});
    double sum = 0, squares = 0;
    std::array<int, 4> quarters{};
    for (int64_t id = 0; id < kDraws; ++id) {
      const SampleNumbers n = objective.numbers_of(id);
      const double z = (4.0 * n.time - levels.mean) / levels.std;
      sum += z, squares += z * z;
      ++quarters.at(static_cast<size_t>(n.quarter));
    }
    EXPECT_NEAR(sum / kDraws, 0, 5 / std::sqrt(kDraws));
    EXPECT_NEAR(squares / kDraws, 1, 5 * std::sqrt(2.0 / kDraws));
    for (const int count : quarters) EXPECT_NEAR(count, kDraws / 4.0, 5 * std::sqrt(kDraws * 3 / 16.0));
  }
}

TEST(Objective, WhatNoiseLevelsDoNotGoWithIsRefused) {
  for (const SchedulerConfig& c : {edm(), flow_matching()}) {
    EXPECT_THROW(Objective(c, {.weighting = LossWeighting::kMinSnr}), Error);
    EXPECT_THROW(Objective(c, {.levels = LevelDistribution{0, 0}}), Error);
    UNetConfig table = tiny();
    table.time_embedding_type = "learned";
    table.num_train_timesteps = 1000;
    EXPECT_THROW(Objective(c, {}).check_model(table), Error);
    Objective(c, {}).check_model(tiny());
  }
}

TEST(Objective, Weights) {
  const auto weight = [](PredictionType type, LossWeighting weighting, int t) {
    return Objective(config_of(type), {.weighting = weighting}).weight_of(t);
  };
  const NoiseSchedule schedule(NoiseScheduleConfig{});
  for (const int t : {0, 50, 400, 999}) {
    const double snr = schedule.snr(t), least = std::min(snr, 5.0);
    EXPECT_EQ(weight(PredictionType::kEpsilon, LossWeighting::kOne, t), 1);
    EXPECT_NEAR(weight(PredictionType::kSample, LossWeighting::kSnr, t) / snr, 1, 1e-6);
    EXPECT_NEAR(weight(PredictionType::kEpsilon, LossWeighting::kMinSnr, t) / (least / snr), 1, 1e-6);
    EXPECT_NEAR(weight(PredictionType::kSample, LossWeighting::kMinSnr, t) / least, 1, 1e-6);
    EXPECT_NEAR(weight(PredictionType::kVPrediction, LossWeighting::kMinSnr, t) / (least / (snr + 1)), 1,
                1e-6);
  }
  SchedulerConfig zero_snr;
  zero_snr.noise.rescale_betas_zero_snr = true;
  EXPECT_EQ(Objective(zero_snr, {.weighting = LossWeighting::kMinSnr}).weight_of(999),
            1);  // S = 0: the limit
}

// Descending along the gradient lowers the loss: signs and the way back through q_sample's target are right.
TEST(Objective, GradientsPointDownhill) {
  Model m(Device::kReference, DType::kFloat64, DType::kFloat64);
  const Objective objective(SchedulerConfig{}, {.seed = kSeed, .activations = DType::kFloat64});
  const MicroBatch data = batch(objective, {1, 2}, Device::kReference);
  m.parameters.zero_gradients();
  const Tensor before = losses_of(objective, m.unet, data);
  backward(before, from_vector<double>({0.5, 0.5}, {2}, Device::kReference));
  const Tensor& values = m.parameters.values();
  double squared = 0;
  for (const double g : to_vector<double>(m.parameters.gradients())) squared += g * g;
  const float step = static_cast<float>(1e-6 / std::sqrt(squared));
  backend_of(values).add(values, 1, m.parameters.gradients(), -step, values);
  const Tensor after = losses_of(objective, m.unet, data);
  const auto mean = [](const Tensor& x) { return (to_vector<double>(x)[0] + to_vector<double>(x)[1]) / 2; };
  EXPECT_NEAR((mean(before) - mean(after)) / (step * squared), 1,
              1e-3);  // first order in a step of length 1e-6
}

TEST(Objective, FourierTimesAreRefused) {
  UNetConfig c = tiny();
  c.time_embedding_type = "fourier";
  const Objective objective(SchedulerConfig{}, {});
  EXPECT_THROW(objective.check_model(c), Error);
  objective.check_model(tiny());
}

}  // namespace
}  // namespace imago
