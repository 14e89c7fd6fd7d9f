// Noise schedules against diffusers, and the forward process that they describe.
#include "models/diffusion/noise_schedule.h"

#include <gtest/gtest.h>

#include <nlohmann/json.hpp>

#include "engine/io/json.h"
#include "engine/io/safetensors.h"
#include "kernels/philox.h"
#include "models/diffusion/scheduler_config.h"
#include "tests/models/golden.h"

namespace imago {
namespace {

using nlohmann::json;

SchedulerConfig parse(const json& object) {
  std::vector<std::string> warnings;
  SchedulerConfig config = parse_scheduler_config(object, "scheduler_config.json", warnings);
  EXPECT_TRUE(warnings.empty()) << warnings.front();
  return config;
}

// max |a - b| / max(|b|, floor)
double worst_error(const std::vector<float>& a, const std::vector<float>& b, double floor) {
  EXPECT_EQ(a.size(), b.size());
  double worst = 0;
  for (size_t i = 0; i < std::min(a.size(), b.size()); ++i)
    worst = std::max(worst, std::abs(double{a[i]} - b[i]) / std::max<double>(std::abs(b[i]), floor));
  return worst;
}

// A few roundings of float32 (2^-24) more or less than torch's vectorised functions; most schedules have the
// same bits. zero_snr subtracts sqrt(alpha_bar_999) from sqrt(alpha_bar_998), which leaves a hundredth:
// rounding of the square root counts a hundred times, and twice when it is squared: 1.2e-5.
TEST(NoiseSchedule, EqualsDiffusers) {
  const SafetensorsFile file(golden::folder() / "schedules.safetensors");
  const json schedules = parse_json(file.metadata().at("about"), "schedules");
  EXPECT_EQ(schedules.size(), 8);
  for (const auto& [name, config] : schedules.items()) {
    const NoiseSchedule ours(parse(config).noise);
    const bool cancels = name == "zero_snr";
    const double tolerance = cancels ? 200 * 0x1p-24 : 4 * 0x1p-24;
    const std::vector<float> betas = file.read_as_float32(name + ":betas");
    const std::vector<float> alpha_bars = file.read_as_float32(name + ":alphas_cumprod");
    EXPECT_LE(worst_error(ours.betas(), betas, cancels ? 1 : 1e-10), tolerance) << name;
    EXPECT_LE(worst_error(ours.alpha_bars(), alpha_bars, 1e-10), tolerance) << name;
  }
}

TEST(NoiseSchedule, KnownValues) {
  const NoiseSchedule linear(NoiseScheduleConfig{});
  EXPECT_NEAR(linear.alpha_bar(999), 4.0358e-5, 5e-10);
  EXPECT_NEAR(linear.beta(0), 1e-4, 1e-11);
  EXPECT_NEAR(linear.beta(999), 0.02, 2e-9);
  NoiseScheduleConfig cosine;
  cosine.beta_schedule = "squaredcos_cap_v2";
  EXPECT_NEAR(NoiseSchedule(cosine).beta(0), 4.128e-5, 5e-9);
  NoiseScheduleConfig rescaled;
  rescaled.rescale_betas_zero_snr = true;
  EXPECT_EQ(NoiseSchedule(rescaled).alpha_bar(999), 0);
  EXPECT_NEAR(NoiseSchedule(rescaled).alpha_bar(0), 1 - 1e-4, 1e-7);
}

// The chain x_t = sqrt(1-beta) x_{t-1} + sqrt(beta) e and the closed form have the same mean and variance at
// every t: algebra, in double; and in fact: 20,000 chains of 50 steps end as the closed form says.
TEST(NoiseSchedule, ChainAndClosedFormAgree) {
  const NoiseSchedule linear(NoiseScheduleConfig{});
  double factor = 1, variance = 0;
  for (int t = 0; t < linear.timesteps(); ++t) {
    const double alpha = double{1.0f - linear.beta(t)};
    factor *= std::sqrt(alpha);
    variance = alpha * variance + (1 - alpha);
    ASSERT_NEAR(factor * factor / linear.alpha_bar(t), 1, 1e-6);
    ASSERT_NEAR(variance, 1 - linear.alpha_bar(t), 1e-6);
  }
  NoiseScheduleConfig short_config;
  short_config.num_train_timesteps = 50;
  short_config.beta_end = 0.1;
  const NoiseSchedule few(short_config);
  constexpr int kChains = 20000;
  const double x0 = 0.8;
  double sum = 0, squares = 0;
  for (int chain = 0; chain < kChains; ++chain) {
    double x = x0;
    for (int t = 0; t < 50; ++t)
      x = std::sqrt(1 - few.beta(t)) * x + std::sqrt(few.beta(t)) * normal_at(1, 1, chain, t);
    sum += x, squares += x * x;
  }
  const double ab = few.alpha_bar(49), mean = sum / kChains, spread = squares / kChains - mean * mean;
  EXPECT_NEAR(mean, std::sqrt(ab) * x0, 4 * std::sqrt((1 - ab) / kChains));  // 4 standard errors
  EXPECT_NEAR(spread, 1 - ab, 4 * (1 - ab) * std::sqrt(2.0 / kChains));
}

}  // namespace
}  // namespace imago
