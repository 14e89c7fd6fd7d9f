// The variational bound: what an independent computation with diffusers' U-Net on the same noise finds
// (tests/models/make_evaluation_golden.py), and what holds for any model.
#include "models/evaluation/variational_bound.h"

#include <gtest/gtest.h>

#include <cmath>
#include <nlohmann/json.hpp>

#include "engine/io/json.h"
#include "engine/nn/flat_parameters.h"
#include "tests/models/golden.h"

namespace imago {
namespace {

using nlohmann::json;

constexpr uint64_t kSeed = 5;

/// SMALL of make_golden.py.
UNetConfig small(int outputs) {
  UNetConfig c;
  c.block_out_channels = {4, 8};
  c.down_block_types = {"DownBlock2D", "AttnDownBlock2D"};
  c.up_block_types = {"AttnUpBlock2D", "UpBlock2D"};
  c.norm_num_groups = 2;
  c.layers_per_block = 1;
  c.attention_head_dim.reset();
  c.out_channels = outputs;
  return c;
}

struct Model {
  explicit Model(int outputs = 3)
      : unet(small(outputs)),
        parameters(unet,
                   {.device = Device::kReference, .master = DType::kFloat64, .compute = DType::kFloat64}) {
    golden::fill(parameters);
  }
  UNet unet;
  FlatParameters parameters;
};

SchedulerConfig scheduler_of(json keys) {
  std::vector<std::string> warnings;
  keys["_class_name"] = "DDPMScheduler";
  return parse_scheduler_config(keys, "golden", warnings);
}

Tensor two_images() {
  std::vector<uint8_t> bytes;
  for (const double u : golden::uniform("bytes", 2 * 8 * 8 * 3))
    bytes.push_back(static_cast<uint8_t>(127.5 * (u + 1)));
  return from_vector(bytes, {2, 8, 8, 3}, Device::kReference);
}

VariationalBound bound_of(const SchedulerConfig& scheduler, int timesteps = 0, uint64_t seed = kSeed) {
  Model model(scheduler.variance_type == "learned_range" ? 6 : 3);
  VariationalBound bound(scheduler, {.seed = seed, .timesteps = timesteps, .activations = DType::kFloat64});
  bound.check_model(model.unet.config());
  bound.add(model.unet, two_images(), {0, 1}, {}, [] {});
  return bound;
}

// Noise is float32 here and float64 there; what is left of that after the division by the smallest variance
// (1e-2) is below 1e-4 of a term.
TEST(VariationalBound, IsThatOfAnIndependentComputation) {
  const json all = read_json(golden::folder() / "bits.json");
  for (const auto& [name, expected] : all.items()) {
    SCOPED_TRACE(name);
    const VariationalBound bound = bound_of(scheduler_of(expected["scheduler"]));
    ASSERT_EQ(bound.images().size(), 2u);
    for (size_t n = 0; n < 2; ++n) {
      const ImageBound& found = bound.images()[n];
      const auto near = [&](double value, const char* part) {
        const double other = expected[part][n];
        EXPECT_NEAR(value, other, 1e-5 * std::abs(other)) << part;
      };
      near(found.prior, "prior");
      near(found.decoder, "decoder");
      near(found.steps, "steps");
    }
    const std::vector<TimestepBound> times = bound.timesteps();
    ASSERT_EQ(times.size(), 12u);
    for (size_t t = 0; t < times.size(); ++t) {
      const auto near = [&](double value, const char* part) {
        const double other = expected[part][t];
        EXPECT_NEAR(value, other, 1e-5 * (std::abs(other) + 1)) << part << " at " << t;
      };
      EXPECT_EQ(times[t].images, 2);
      near(times[t].bits, "bits");
      near(times[t].x0_error, "x0_error");
      near(times[t].epsilon_error, "epsilon_error");
    }
  }
}

TEST(VariationalBound, OfSomeTimestepsIsRightInTheMean) {
  const SchedulerConfig scheduler =
      scheduler_of({{"num_train_timesteps", 12}, {"beta_start", 0.01}, {"beta_end", 0.4}});
  const VariationalBound whole = bound_of(scheduler);
  double sum = 0, squares = 0, exact = 0;
  constexpr int kSeeds = 60;
  for (int seed = 0; seed < kSeeds; ++seed) {
    const VariationalBound some = bound_of(scheduler, 4, static_cast<uint64_t>(seed));
    EXPECT_EQ(some.evaluations(), 4);
    const double steps = some.images()[0].steps;
    sum += steps / kSeeds;
    squares += steps * steps / kSeeds;
    exact += bound_of(scheduler, 0, static_cast<uint64_t>(seed)).images()[0].steps / kSeeds;
  }
  EXPECT_EQ(whole.evaluations(), 12);
  const double error = std::sqrt((squares - sum * sum) / kSeeds);
  EXPECT_NEAR(sum, exact, 4 * error);
  EXPECT_LT(error, 0.1 * exact);  // so that four of it say something
}

// The values 0 .. 255 are all there is: their probabilities sum to one, however wide the distribution.
TEST(VariationalBound, TheDecoderIsADistributionOfValues) {
  for (const double mean : {-1.0, 0.123, 0.999, 1.5}) {
    for (const double log_variance : {-12.0, -6.0, 1.0}) {
      double sum = 0;
      for (int value = 0; value < 256; ++value) sum += std::exp(-decoder_nats(value, mean, log_variance));
      EXPECT_NEAR(sum, 1, 1e-12) << mean << " " << log_variance;
    }
  }
}

// -log p of a point 100 standard deviations away is about 100^2 / 2; where float64 has no such probability
// the value is still finite, and still grows with the distance.
TEST(VariationalBound, TheDecoderIsFiniteFarFromTheMean) {
  const double log_variance = 2 * std::log(0.01);
  const double far = decoder_nats(255, 0, log_variance), near = decoder_nats(254, 0, log_variance);
  EXPECT_NEAR(far, 0.5 * std::pow((1 - 1 / 255.0) / 0.01, 2), 10);
  EXPECT_GT(far, near);
  EXPECT_TRUE(std::isfinite(decoder_nats(0, 1, log_variance)));
}

TEST(VariationalBound, RefusesWhatHasNone) {
  const auto refuses = [](SchedulerConfig config, int timesteps = 0) {
    EXPECT_THROW(VariationalBound(config, {.timesteps = timesteps}), Error);
  };
  refuses(defaults_of(SchedulerConfig::Kind::kEdmEuler));
  refuses(defaults_of(SchedulerConfig::Kind::kFlowEuler));
  SchedulerConfig config;
  refuses(config, 1);
  refuses(config, 1001);
  config.thresholding = true;
  refuses(config);
  config = {};
  config.noise.rescale_betas_zero_snr = true;
  refuses(config);
  config.prediction_type = PredictionType::kVPrediction;
  EXPECT_NO_THROW(VariationalBound(config, {}));
  config.variance_type = "learned_range";
  EXPECT_THROW(VariationalBound(config, {}).check_model(small(3)), Error);
  EXPECT_NO_THROW(VariationalBound(config, {}).check_model(small(6)));
}

}  // namespace
}  // namespace imago
