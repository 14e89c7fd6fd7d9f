// AdamW against its definition in float64, the learning-rate schedules, the EMA's decay.
#include <gtest/gtest.h>

#include "engine/nn/linear.h"
#include "engine/optim/adamw.h"
#include "engine/optim/lr_schedule.h"
#include "tests/support/gradient_check.h"

namespace imago {
namespace {

TEST(AdamWTest, FollowsItsDefinition) {
  Linear model(5, 3);
  FlatParameters flat(model, {Device::kReference, DType::kFloat32, DType::kBFloat16, true});
  flat.initialize(1);
  AdamW::Options o;
  o.weight_decay = 0.1;
  o.max_grad_norm = 0.5;
  o.ema = EmaSchedule{};
  AdamW adamw(flat, o);
  adamw.start_ema();
  const auto n = static_cast<size_t>(flat.padded());
  std::vector<double> p(n), m(n), v(n), ema(n);
  for (size_t i = 0; i < n; ++i) ema[i] = p[i] = to_vector<float>(flat.values())[i];
  for (int step = 1; step <= 5; ++step) {
    std::vector<float> g(n);
    double norm = 0;
    for (size_t i = 0; i < n; ++i) {
      g[i] = normal_at(9, 1, step, static_cast<int64_t>(i));
      norm += double{g[i]} * g[i];
    }
    norm = std::sqrt(norm);
    upload(g.data(), flat.gradients());
    const double lr = 1e-2 / step, decay = o.ema->decay(step);
    adamw.step(lr);
    EXPECT_NEAR(adamw.grad_norm(), norm, 1e-6 * norm);
    for (size_t i = 0; i < n; ++i) {
      const double gi = g[i] * std::min(1.0, 0.5 / (norm + 1e-6));
      p[i] *= 1 - lr * 0.1;
      m[i] = 0.95 * m[i] + 0.05 * gi;
      v[i] = 0.999 * v[i] + 0.001 * gi * gi;
      p[i] -=
          lr * (m[i] / (1 - std::pow(0.95, step))) / (std::sqrt(v[i] / (1 - std::pow(0.999, step))) + 1e-8);
      ema[i] = decay * ema[i] + (1 - decay) * p[i];
    }
  }
  const auto got = to_vector<float>(flat.values()), got_ema = to_vector<float>(adamw.ema());
  const auto copy = to_vector<bf16>(flat.compute());
  for (size_t i = 0; i < n;
       ++i) {  // five roundings of numbers below one, and the step's own constants in float32
    EXPECT_NEAR(got[i], p[i], 1e-6);
    EXPECT_NEAR(got_ema[i], ema[i], 1e-6);
    EXPECT_EQ(copy[i].bits, bf16(got[i]).bits);
  }
}

TEST(LearningRateTest, MatchesTheSixSchedules) {
  const auto at = [](const char* name, int64_t step) { return LearningRate(name, 1, 10, 110).at(step); };
  for (const char* name :
       {"linear", "cosine", "cosine_with_restarts", "polynomial", "constant_with_warmup"}) {
    EXPECT_DOUBLE_EQ(at(name, 0), 0) << name;
    EXPECT_DOUBLE_EQ(at(name, 5), 0.5) << name;
    EXPECT_DOUBLE_EQ(at(name, 10), 1) << name;
  }
  EXPECT_DOUBLE_EQ(at("constant", 0), 1);
  EXPECT_DOUBLE_EQ(at("constant_with_warmup", 1000), 1);
  EXPECT_DOUBLE_EQ(at("linear", 60), 0.5);
  EXPECT_DOUBLE_EQ(at("linear", 200), 0);
  EXPECT_NEAR(at("cosine", 60), 0.5, 1e-15);
  EXPECT_NEAR(at("cosine", 35), (1 + std::sqrt(0.5)) / 2, 1e-15);
  EXPECT_NEAR(at("cosine_with_restarts", 60), 0.5, 1e-15);
  EXPECT_DOUBLE_EQ(at("cosine_with_restarts", 110), 0);
  EXPECT_NEAR(at("polynomial", 60), 0.5, 1e-7);
  EXPECT_DOUBLE_EQ(at("polynomial", 500), 1e-7);
  EXPECT_THROW(LearningRate("cosinus", 1, 0, 1), Error);
}

TEST(EmaScheduleTest, FollowsDiffusers) {
  EmaSchedule warm;
  EXPECT_EQ(warm.decay(1), 0);
  EXPECT_NEAR(warm.decay(2), 1 - std::pow(2.0, -0.75), 1e-15);
  EXPECT_EQ(warm.decay(100000000), 0.9999);
  EmaSchedule plain{.warmup = false, .update_after = 10};
  EXPECT_EQ(plain.decay(11), 0);
  EXPECT_NEAR(plain.decay(12), 2.0 / 11, 1e-15);
}

}  // namespace
}  // namespace imago
