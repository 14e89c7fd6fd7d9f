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
  std::vector<int> timesteps;
  std::vector<float> coefficients, weights;
  for (const int64_t id : ids) {
    const SampleNumbers numbers = objective.numbers_of(id);
    timesteps.push_back(numbers.timestep);
    coefficients.insert(coefficients.end(), numbers.coefficients.begin(), numbers.coefficients.end());
    weights.push_back(numbers.weight);
  }
  const auto n = static_cast<int64_t>(ids.size());
  const Device device = images.device();
  return {images,
          from_vector(ids, {n}, device),
          timesteps_tensor(tiny(), timesteps, device),
          from_vector(coefficients, {n, 4}, device),
          from_vector(weights, {n}, device),
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
    const std::vector<int> timesteps = {objective.numbers_of(ids[0]).timestep,
                                        objective.numbers_of(ids[1]).timestep};
    ASSERT_EQ(losses.size(), 2);
    std::vector<double> xt, target;
    for (int n = 0; n < 2; ++n) {
      EXPECT_EQ(timesteps[n], objective.timestep_of(ids[n]));
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
    EXPECT_EQ(numbers.class_dropped, objective.drops_class_of(id));
    dropped += numbers.class_dropped;
    early += numbers.class_dropped && numbers.timestep < 500;
  }
  EXPECT_NEAR(dropped, 0.1 * kDraws, 5 * std::sqrt(0.1 * 0.9 * kDraws));
  EXPECT_NEAR(early, dropped / 2.0, 5 * std::sqrt(dropped / 4.0));
  const Objective keeps(SchedulerConfig{}, {.seed = kSeed});
  for (int64_t id = 0; id < 1000; ++id) EXPECT_FALSE(keeps.drops_class_of(id));
  EXPECT_THROW(Objective(SchedulerConfig{}, {.class_dropout = 1}), Error);
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
