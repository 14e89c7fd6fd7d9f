// Noise schedules and the steps of DDPM and DDIM, against diffusers.
#include <gtest/gtest.h>

#include <nlohmann/json.hpp>

#include "engine/io/json.h"
#include "engine/io/safetensors.h"
#include "kernels/philox.h"
#include "models/diffusion/scheduler.h"
#include "models/diffusion/thresholding.h"
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

// ---- Times ----

std::vector<int> timesteps(const json& config, int steps) {
  return DdimScheduler(parse(config), steps).timesteps();
}

TEST(Scheduler, Spacings) {
  EXPECT_EQ(timesteps({{"timestep_spacing", "linspace"}}, 10),
            (std::vector<int>{999, 888, 777, 666, 555, 444, 333, 222, 111, 0}));
  EXPECT_EQ(timesteps(json::object(), 10),
            (std::vector<int>{900, 800, 700, 600, 500, 400, 300, 200, 100, 0}));
  EXPECT_EQ(timesteps({{"steps_offset", 1}}, 4), (std::vector<int>{751, 501, 251, 1}));
  EXPECT_EQ(timesteps({{"timestep_spacing", "trailing"}}, 10),
            (std::vector<int>{999, 899, 799, 699, 599, 499, 399, 299, 199, 99}));
  EXPECT_EQ(timesteps({{"timestep_spacing", "linspace"}}, 1), std::vector<int>{0});
  for (const char* spacing : {"linspace", "leading", "trailing"})
    for (int steps = 1; steps <= 1000; ++steps) {
      const std::vector<int> list = timesteps({{"timestep_spacing", spacing}}, steps);
      ASSERT_EQ(static_cast<int>(list.size()), steps) << spacing;
      ASSERT_GE(list.back(), 0);
      ASSERT_TRUE(std::is_sorted(list.rbegin(), list.rend()));
    }
}

TEST(Scheduler, RefusesStepsItCannotMake) {
  EXPECT_THROW(timesteps(json::object(), 0), Error);
  EXPECT_THROW(timesteps(json::object(), 1001), Error);
  EXPECT_THROW(timesteps({{"steps_offset", 1}}, 1000), Error);
  EXPECT_THROW(make_scheduler(parse({{"_class_name", "DDIMScheduler"}}), 10, 1.5), Error);
}

// ---- Steps ----

// One update, in float32 on the host: see SamplerStep.
std::vector<float> host_step(const SamplerStep& s, const std::vector<float>& x, const std::vector<float>& m,
                             const std::vector<float>& z) {
  std::vector<float> y(x.size());
  for (size_t i = 0; i < x.size(); ++i) {
    float x0 = s.x0_x * x[i] + s.x0_m * m[i];
    if (s.clip > 0) x0 = std::clamp(x0, -s.clip, s.clip);
    y[i] = s.y_x * x[i] + s.y_m * m[i] + s.y_x0 * x0 + s.sigma * z[i];
  }
  return y;
}

std::vector<float> scaled(std::vector<float> x, double factor) {
  for (float& v : x) v *= static_cast<float>(factor);
  return x;
}

std::unique_ptr<Scheduler> scheduler_of(const json& c) {
  json config = c.at("config");
  const bool ddim = c.at("kind") == "ddim";
  config["_class_name"] = ddim ? "DDIMScheduler" : "DDPMScheduler";
  if (!ddim) return std::make_unique<DdpmScheduler>(parse(config), c.at("steps"));
  return std::make_unique<DdimScheduler>(
      parse(config), c.at("steps"),
      DdimOptions{.eta = c.at("eta"),
                  .use_clipped_model_output = c.value("use_clipped_model_output", false)});
}

std::vector<float> run(const json& c) {
  const std::unique_ptr<Scheduler> scheduler = scheduler_of(c);
  const SchedulerConfig& config = scheduler->config();
  const Shape shape{2, 3, 4, 4};
  std::vector<float> x = golden::numbers("start", shape);
  for (float& v : x) v *= 2;
  for (int i = 0; i < scheduler->steps(); ++i) {
    const int t = scheduler->timesteps()[i];
    const std::vector<float> m = scaled(x, (t + 1.0) / (t + 2.0));
    const std::vector<float> z = golden::numbers("noise " + std::to_string(i), shape);
    if (config.thresholding) {
      const auto tensor = [&](const std::vector<float>& v) {
        return from_vector(v, shape, Device::kReference);
      };
      x = to_vector<float>(thresholded_step(tensor(x), tensor(m), tensor(z), scheduler->step(i),
                                            config.dynamic_thresholding_ratio, config.sample_max_value));
    } else {
      x = host_step(scheduler->step(i), x, m, z);
    }
  }
  return x;
}

// A step is some ten float32 roundings, but at large t epsilon prediction divides by sqrt(alpha_bar), down to
// 1/160, and rounding grows with it before the clip: 160 * 10 * 2^-24 = 1e-4. Ours and diffusers'
// coefficients agree to rounding.
TEST(Scheduler, StepsEqualDiffusers) {
  const SafetensorsFile file(golden::folder() / "scheduler_steps.safetensors");
  const json cases = parse_json(file.metadata().at("about"), "cases");
  EXPECT_GE(cases.size(), 28);
  for (size_t i = 0; i < cases.size(); ++i) {
    const std::string key = std::to_string(i);
    std::vector<int32_t> theirs(file.entry(key + ":timesteps").shape.at(0));
    file.read(key + ":timesteps", {theirs.data(), DType::kInt32, {static_cast<int64_t>(theirs.size())}});
    EXPECT_EQ(scheduler_of(cases[i])->timesteps(), (std::vector<int>(theirs.begin(), theirs.end())))
        << cases[i];
    const double error = golden::relative_error(run(cases[i]), file.read_as_float32(key + ":x"));
    EXPECT_LE(error, 1e-5) << cases[i];  // measured: up to 5e-7
  }
}

// The value that diffusers' own tests know.
TEST(Scheduler, DdimFullLoop) {
  const DdimScheduler scheduler(SchedulerConfig{}, 10);
  std::vector<float> x;
  for (int i = 0; i < 768; ++i) x.push_back(static_cast<float>(i) / 768);
  for (int i = 0; i < 10; ++i) {
    const double t = scheduler.timesteps()[i];
    x = host_step(scheduler.step(i), x, scaled(x, t / (t + 1)), x);
  }
  double sum = 0;
  for (const float v : x) sum += std::abs(v);
  EXPECT_NEAR(sum, 172.0067, 1e-2);
}

TEST(Scheduler, DdpmVariances) {
  SchedulerConfig config;
  const DdpmScheduler small(config, 1000);
  EXPECT_NEAR(small.variance(999 - 487), 0.00979, 1e-5);
  EXPECT_NEAR(small.variance(0), 0.02, 1e-5);
  EXPECT_EQ(small.variance(999), 1e-20f);
  EXPECT_EQ(small.step(999).sigma, 0);  // t = 0: no noise
  config.variance_type = "fixed_large";
  EXPECT_NEAR(DdpmScheduler(config, 1000).variance(0), 0.02, 1e-6);
  EXPECT_NEAR(DdpmScheduler(config, 1000).variance(999), 1e-4, 1e-7);
}

// DDIM with eta = 1 over all times is DDPM with fixed_small, but for what it does about clipping (Song 2020,
// section 4.1).
TEST(Scheduler, DdimWithEtaOneIsDdpm) {
  SchedulerConfig config;
  config.clip_sample = false;
  const DdpmScheduler ddpm(config, 1000);
  const DdimScheduler ddim(config, 1000, {.eta = 1});
  for (int i = 0; i < 999; i += 37) {
    const auto times_x = [](const SamplerStep& s) { return s.y_x + s.y_x0 * s.x0_x; };
    const auto times_m = [](const SamplerStep& s) { return s.y_m + s.y_x0 * s.x0_m; };
    EXPECT_NEAR(times_x(ddpm.step(i)) / times_x(ddim.step(i)), 1, 1e-3);
    EXPECT_NEAR(times_m(ddpm.step(i)), times_m(ddim.step(i)), 1e-3 * std::abs(times_m(ddpm.step(i))) + 1e-5);
    EXPECT_NEAR(ddpm.step(i).sigma, ddim.step(i).sigma, 1e-3 * ddpm.step(i).sigma);
  }
}

// With linspace, diffusers' DDIM steps to t - T/N, which is not the next time; follow_timesteps goes there.
TEST(Scheduler, FollowTimestepsReachesTheNextTime) {
  SchedulerConfig config;
  config.timestep_spacing = "linspace";
  const NoiseSchedule schedule(config.noise);
  const DdimScheduler theirs(config, 10), ours(config, 10, {.follow_timesteps = true});
  EXPECT_EQ(theirs.step(0).y_x0, std::sqrt(schedule.alpha_bar(899)));
  EXPECT_EQ(ours.step(0).y_x0, std::sqrt(schedule.alpha_bar(888)));
  EXPECT_EQ(ours.step(9).y_x0, 1);
}

// ---- scheduler_config.json ----

TEST(SchedulerConfig, DefaultsAreThoseOfDiffusers) {
  const json all = read_json(golden::folder() / "defaults.json");
  for (const char* name : {"DDPMScheduler", "DDIMScheduler"}) {
    json ours = to_json(parse({{"_class_name", name}}));
    EXPECT_EQ(ours.at("_class_name"), name);
    std::erase_if(ours.get_ref<json::object_t&>(),
                  [](const auto& item) { return item.first.starts_with("_"); });
    EXPECT_EQ(ours, all.at(name));
  }
}

TEST(SchedulerConfig, WritesWhatItRead) {
  const json file = read_json(golden::folder() / "pipeline" / "scheduler" / "scheduler_config.json");
  EXPECT_EQ(to_json(parse(file)), file);
  SchedulerConfig c;
  c.kind = SchedulerConfig::Kind::kDdim;
  c.noise.trained_betas = {{0.1, 0.25}};
  c.noise.num_train_timesteps = 2;
  c.prediction_type = PredictionType::kVPrediction;
  c.set_alpha_to_one = false;
  EXPECT_EQ(parse(to_json(c)), c);
}

TEST(SchedulerConfig, WrongValuesNameFileAndKey) {
  const std::pair<json, const char*> wrong[] = {
      {{{"beta_schedule", "quadratic"}}, "beta_schedule: \"quadratic\" is not supported"},
      {{{"variance_type", "learned_range"}}, "variance_type: \"learned_range\" is not supported"},
      {{{"prediction_type", "score"}}, "prediction_type: \"score\" is not supported"},
      {{{"timestep_spacing", "karras"}}, "timestep_spacing: \"karras\" is not supported"},
      {{{"num_train_timesteps", 0}}, "num_train_timesteps: expected at least 1, not 0"},
      {{{"beta_end", 1.5}}, "beta_start, beta_end: beta 1.0"},
      {{{"beta_start", "small"}}, "beta_start: expected a number, not \"small\""},
      {{{"trained_betas", {0.1, -0.2}}}, "trained_betas: beta -0.2 at t = 1 is not in [0,1]"},
      {{{"trained_betas", 3}}, "trained_betas: expected a list of numbers or null, not 3"},
      {{{"clip_sample_range", 0}}, "clip_sample_range: expected more than 0, not 0"},
      {{{"steps_offset", -1}}, "steps_offset: expected at least 0, not -1"},
      {{{"_class_name", "PNDMScheduler"}}, "_class_name: \"PNDMScheduler\" is not supported"},
  };
  for (const auto& [object, message] : wrong) {
    try {
      parse(object);
      ADD_FAILURE() << object << " was accepted";
    } catch (const Error& e) {
      EXPECT_EQ(e.fault, Fault::kBadInput);
      EXPECT_TRUE(std::string(e.what()).starts_with(std::string("scheduler_config.json: ") + message))
          << e.what();
    }
  }
  std::vector<std::string> warnings;
  parse_scheduler_config({{"mystery", 1}}, "s.json", warnings);
  EXPECT_EQ(warnings, std::vector<std::string>{"s.json: mystery: unknown key, ignored"});
}

}  // namespace
}  // namespace imago
