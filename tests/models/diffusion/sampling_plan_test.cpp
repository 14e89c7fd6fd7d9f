// The plans of all samplers, against diffusers and against each other.
#include "models/diffusion/sampling_plan.h"

#include <gtest/gtest.h>

#include <nlohmann/json.hpp>

#include "engine/io/json.h"
#include "engine/io/safetensors.h"
#include "models/diffusion/solvers/sigmas.h"
#include "models/diffusion/solvers/solvers.h"
#include "models/diffusion/thresholding.h"
#include "tests/models/golden.h"

namespace imago {
namespace {

using nlohmann::json;
using Values = std::vector<float>;
using enum SchedulerConfig::Kind;

SchedulerConfig parse(const json& object) {
  std::vector<std::string> warnings;
  SchedulerConfig config = parse_scheduler_config(object, "scheduler_config.json", warnings);
  EXPECT_TRUE(warnings.empty()) << warnings.front();
  return config;
}

// ---- Times ----

std::vector<int> timesteps(const json& config, int steps) {
  std::vector<int> times;
  for (const PlannedStep& step : make_plan(as_kind(parse(config), kDdim), steps).steps)
    times.push_back(static_cast<int>(step.time));
  return times;
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
  EXPECT_THROW(make_plan(defaults_of(kDdim), 10, {.eta = 1.5}), Error);
}

// ---- Steps ----

/// Carries a plan out on the host, in float32: see SamplerStep.
class HostSampler {
 public:
  HostSampler(const SamplingPlan& plan, Values start, const Shape& shape)
      : plan_(plan), shape_(shape), x_(std::move(start)) {}

  const Values& x() const { return x_; }
  Values input(int i) const {
    Values scaled = x_;
    for (float& v : scaled) v *= plan_.steps[i].input_scale;
    return scaled;
  }
  /// m: the network's output; v: its variance, or empty; z: the noise.
  void step(int i, const Values& m, const Values& v, const Values& z) {
    const SamplerStep& s = plan_.steps[i].update;
    const std::vector<float> limits = limits_of(m, s);
    Values entry(x_.size());
    for (size_t k = 0; k < x_.size(); ++k) {
      float x0 = s.x0_x * x_[k] + s.x0_m * m[k];
      if (s.clip > 0) x0 = std::clamp(x0, -s.clip, s.clip);
      if (!limits.empty()) {
        const float limit = limits[k / (x_.size() / limits.size())];
        x0 = std::clamp(x0, -limit, limit) / limit;
      }
      float y = s.y_x * x_[k] + s.y_m * m[k] + s.y_x0 * x0;
      for (size_t j = 0; j < history_.size(); ++j) y += s.y_h[j] * history_[j][k];
      entry[k] = s.entry_x * x_[k] + s.entry_m * m[k] + s.entry_x0 * x0;
      x_[k] = y + deviation(s, v.empty() ? 0 : v[k]) * z[k];
    }
    history_.insert(history_.begin(), entry);
    history_.resize(std::min<size_t>(history_.size(), plan_.history));
  }

 private:
  static float deviation(const SamplerStep& s, float v) {
    if (s.noise == StepNoise::kFixed) return s.sigma;
    if (s.noise == StepNoise::kLearned) return std::sqrt(v);
    const float f = (v + 1) / 2;
    return std::exp(0.5f * (f * s.max_log + (1 - f) * s.min_log));
  }
  Values limits_of(const Values& m, const SamplerStep& s) const {
    if (!plan_.thresholding) return {};
    const auto tensor = [&](const Values& v) { return from_vector(v, shape_, Device::kReference); };
    return to_vector<float>(threshold_limits(tensor(x_), tensor(m), s, *plan_.thresholding));
  }

  const SamplingPlan& plan_;
  Shape shape_;
  Values x_;
  std::vector<Values> history_;
};

Values scaled(Values x, double factor) {
  for (float& v : x) v *= static_cast<float>(factor);
  return x;
}

/// make_sampler_golden.py's network(): x is what the network sees, i the evaluation.
Values network(const Values& x, float t, int i, const Shape& shape) {
  const Values numbers = golden::numbers("output " + std::to_string(i), shape);
  Values m = scaled(x, 0.5 * (double{t} + 1) / (double{t} + 2));
  for (size_t k = 0; k < m.size(); ++k) m[k] += numbers[k];
  return m;
}

/// make_sampler_golden.py's with_variance().
Values variance(const Values& m, const std::string& type) {
  if (!type.starts_with("learned")) return {};
  Values v;
  for (const float each : m) v.push_back(type == "learned" ? each * each * 0.25f + 0.0625f : each * 0.5f);
  return v;
}

SamplingPlan plan_of(const json& c) {
  json keys = c.value("config", json::object());
  const json options = c.value("options", json::object());
  const bool inverse = c.at("class") == "DDIMInverseScheduler";
  keys["_class_name"] = inverse ? json("DDIMScheduler") : c.at("class");
  const SchedulerConfig config = parse(keys);
  const int steps = c.at("steps");
  if (inverse) return ddim_inversion_plan(config, steps);
  SamplerOptions o;
  o.eta = options.value("eta", o.eta);
  o.use_clipped_model_output = options.value("use_clipped_model_output", false);
  o.s_churn = options.value("s_churn", o.s_churn);
  o.s_tmin = options.value("s_tmin", o.s_tmin);
  o.s_tmax = options.value("s_tmax", o.s_tmax);
  o.s_noise = options.value("s_noise", o.s_noise);
  return options.value("edm_heun", false) ? edm_heun_plan(config, steps, o) : make_plan(config, steps, o);
}

/// x after the middle and after the last evaluation.
std::pair<Values, Values> carried_out(const json& c, const SamplingPlan& plan) {
  const Shape shape{1, 3, 2, 2};
  const std::string type = c.value("config", json::object()).value("variance_type", "");
  const auto noise = [&](int i) { return golden::numbers("noise " + std::to_string(i), shape); };
  Values start = scaled(golden::numbers("start", shape), plan.start_scale);
  const Values churn = noise(plan.evaluations());
  for (size_t k = 0; k < start.size(); ++k) start[k] += static_cast<float>(plan.start_churn) * churn[k];
  HostSampler sampler(plan, start, shape);
  Values middle;
  for (int i = 0; i < plan.evaluations(); ++i) {
    const Values m = network(sampler.input(i), plan.steps[i].time, i, shape);
    sampler.step(i, m, variance(m, type), noise(i));
    if (i == plan.evaluations() / 2) middle = sampler.x();
  }
  return {middle, sampler.x()};
}

// Every class over the cross product of its options. Both sides compute in float32, where at the noisiest
// times x_0 = (x - sigma m) / alpha multiplies a rounding by up to 160; measured: up to 4e-6, half of them
// below 1.5e-7.
TEST(SamplingPlan, EveryCombinationEqualsDiffusers) {
  const SafetensorsFile file(golden::folder() / "sampler_steps.safetensors");
  const json cases = parse_json(file.metadata().at("about"), "cases");
  const Values middles = file.read_as_float32("middle"), finals = file.read_as_float32("final"),
               times = file.read_as_float32("times");
  EXPECT_GE(cases.size(), 1300);
  size_t at = 0;
  for (size_t i = 0; i < cases.size(); ++i) {
    const SamplingPlan plan = plan_of(cases[i]);
    for (const PlannedStep& step : plan.steps) {
      ASSERT_LT(at, times.size());
      ASSERT_NEAR(step.time, times[at], 2e-5 * std::abs(times[at])) << cases[i];
      ++at;
    }
    const auto row = [&](const Values& all) {
      return Values(all.begin() + static_cast<int64_t>(12 * i),
                    all.begin() + static_cast<int64_t>(12 * i + 12));
    };
    const auto [middle, final] = carried_out(cases[i], plan);
    const bool has_middle = !cases[i].value("options", json::object()).value("edm_heun", false);
    if (has_middle) {
      EXPECT_LE(golden::relative_error(middle, row(middles)), 1e-5) << cases[i];
    }
    EXPECT_LE(golden::relative_error(final, row(finals)), 1e-5) << cases[i];
  }
  EXPECT_EQ(at, times.size());
}

// The value that diffusers' own tests know.
TEST(SamplingPlan, DdimFullLoop) {
  const SamplingPlan plan = make_plan(defaults_of(kDdim), 10);
  Values x;
  for (int i = 0; i < 768; ++i) x.push_back(static_cast<float>(i) / 768);
  HostSampler sampler(plan, x, {1, 768});
  for (int i = 0; i < 10; ++i) {
    const double t = plan.steps[i].time;
    sampler.step(i, scaled(sampler.x(), t / (t + 1)), {}, x);
  }
  double sum = 0;
  for (const float v : sampler.x()) sum += std::abs(v);
  EXPECT_NEAR(sum, 172.0067, 1e-2);
}

// The same for DPM-Solver++ without lower orders at the end.
TEST(SamplingPlan, DpmSolverFullLoop) {
  SchedulerConfig config = defaults_of(kDpmSolver);
  config.final_sigmas_type = "sigma_min";
  config.lower_order_final = false;
  const SamplingPlan plan = make_plan(config, 10);
  Values x;
  for (int i = 0; i < 768; ++i) x.push_back(static_cast<float>(i) / 768);
  HostSampler sampler(plan, x, {1, 768});
  for (int i = 0; i < 10; ++i) {
    const double t = plan.steps[i].time;
    sampler.step(i, scaled(sampler.x(), t / (t + 1)), {}, x);
  }
  double sum = 0;
  for (const float v : sampler.x()) sum += std::abs(v);
  EXPECT_NEAR(sum / 768, 0.3301, 1e-3);
}

float variance_at(const std::string& type, int t) {
  const NoiseSchedule schedule{NoiseScheduleConfig{}};
  return ddpm_variance(type, schedule.alpha_bar(t), t > 0 ? schedule.alpha_bar(t - 1) : 1);
}

TEST(SamplingPlan, DdpmVariances) {
  EXPECT_NEAR(variance_at("fixed_small", 487), 0.00979, 1e-5);
  EXPECT_NEAR(variance_at("fixed_small", 999), 0.02, 1e-5);
  EXPECT_EQ(variance_at("fixed_small", 0), 1e-20f);
  EXPECT_EQ(make_plan(SchedulerConfig{}, 1000).steps[999].update.sigma, 0);  // t = 0: no noise
  EXPECT_NEAR(variance_at("fixed_large", 999), 0.02, 1e-6);
  EXPECT_NEAR(variance_at("fixed_large", 0), 1e-4, 1e-7);
}

// diffusers takes the root of a logarithm for fixed_large_log, which is NaN; here it is fixed_large.
TEST(SamplingPlan, FixedLargeLogIsFixedLarge) {
  SchedulerConfig large, log;
  large.variance_type = "fixed_large";
  log.variance_type = "fixed_large_log";
  for (int i = 0; i < 10; ++i) {
    const float sigma = make_plan(large, 10).steps[i].update.sigma;
    EXPECT_NEAR(make_plan(log, 10).steps[i].update.sigma, sigma, 4 * 0x1p-24 * sigma);
  }
}

// DDIM with eta = 1 over all times is DDPM with fixed_small, but for what it does about clipping (Song 2020,
// section 4.1).
TEST(SamplingPlan, DdimWithEtaOneIsDdpm) {
  SchedulerConfig config;
  config.clip_sample = false;
  const SamplingPlan ddpm = make_plan(config, 1000),
                     ddim = make_plan(as_kind(config, kDdim), 1000, {.eta = 1});
  for (int i = 0; i < 999; i += 37) {
    const SamplerStep &p = ddpm.steps[i].update, &q = ddim.steps[i].update;
    const auto times_x = [](const SamplerStep& s) { return s.y_x + s.y_x0 * s.x0_x; };
    const auto times_m = [](const SamplerStep& s) { return s.y_m + s.y_x0 * s.x0_m; };
    EXPECT_NEAR(times_x(p) / times_x(q), 1, 1e-3);
    EXPECT_NEAR(times_m(p), times_m(q), 1e-3 * std::abs(times_m(p)) + 1e-5);
    EXPECT_NEAR(p.sigma, q.sigma, 1e-3 * p.sigma);
  }
}

// With linspace, diffusers' DDIM steps to t - T/N, which is not the next time; follow_timesteps goes there.
TEST(SamplingPlan, FollowTimestepsReachesTheNextTime) {
  SchedulerConfig config = defaults_of(kDdim);
  config.timestep_spacing = "linspace";
  const NoiseSchedule schedule(config.noise);
  const SamplingPlan theirs = make_plan(config, 10), ours = make_plan(config, 10, {.follow_timesteps = true});
  EXPECT_EQ(theirs.steps[0].update.y_x0, std::sqrt(schedule.alpha_bar(899)));
  EXPECT_EQ(ours.steps[0].update.y_x0, std::sqrt(schedule.alpha_bar(888)));
  EXPECT_EQ(ours.steps[9].update.y_x0, 1);
}

// Where diffusers' UniPC has no finite answer: bh1 down to zero, whose last step multiplies infinity by
// nothing.
TEST(SamplingPlan, UniPcDownToZeroIsFinite) {
  SchedulerConfig config = defaults_of(kUniPc);
  config.solver_type = "bh1";
  for (const PlannedStep& step : make_plan(config, 6).steps) {
    const SamplerStep& s = step.update;
    for (const float c : {s.y_x, s.y_x0, s.y_h[0], s.y_h[1], s.y_h[2]}) EXPECT_TRUE(std::isfinite(c));
  }
  config.lower_order_final = false;
  EXPECT_THROW(make_plan(config, 6), Error);
  config = defaults_of(kUniPc);
  config.predict_x0 = false;
  EXPECT_THROW(make_plan(config, 6), Error);
}

/// The exact network for images x_0 ~ N(0, 1/4): epsilon = sigma x / (alpha^2 / 4 + sigma^2) of x = alpha x_0
/// + sigma e, at a time that may lie between whole ones.
double exact_epsilon(const SigmaTable& table, double t, double x) {
  const VpLevel level(table.at(t));
  return level.sigma * x / (level.alpha * level.alpha / 4 + level.sigma * level.sigma);
}

/// How far a sampler of this many steps ends from where the probability flow leads x: with Gaussian images it
/// keeps x / sqrt(alpha^2 / 4 + sigma^2).
double error_of(const SamplingPlan& plan, const SigmaTable& table) {
  const double first = plan.steps[0].input_scale * plan.start_scale;  // of the network's view
  const VpLevel level(table.at(plan.steps[0].time));
  HostSampler sampler(plan, {static_cast<float>(plan.start_scale)}, {1, 1});
  for (int i = 0; i < plan.evaluations(); ++i) {
    const float seen = sampler.input(i)[0];
    sampler.step(i, {static_cast<float>(exact_epsilon(table, plan.steps[i].time, seen))}, {}, {0});
  }
  const double expected = first * 0.5 / std::sqrt(level.alpha * level.alpha / 4 + level.sigma * level.sigma);
  return std::abs(sampler.x()[0] / expected - 1);
}

// Convergence: with twice the steps the error of a first-order sampler halves, of a second-order one it
// quarters (asked for: 1.6 and 2.6, as few steps are not yet in that regime).
TEST(SamplingPlan, ErrorsFallByTheOrder) {
  const auto fall = [](SchedulerConfig config) {
    config.use_karras_sigmas = config.kind != kDdim;
    config.clip_sample = false;
    config.final_sigmas_type = "sigma_min";
    const SigmaTable table(config.noise);
    return error_of(make_plan(config, 20), table) / error_of(make_plan(config, 40), table);
  };
  EXPECT_GT(fall(defaults_of(kEuler)), 1.6);
  SchedulerConfig heun = defaults_of(kHeun);
  heun.noise = {};
  EXPECT_GT(fall(heun), 2.6);
}

// Inversion goes up the way that DDIM comes down; each asks the network at the other end of its step, so what
// is missing at the end halves with twice the steps (asked for: 1.6).
TEST(SamplingPlan, InversionComesBackToTheImage) {
  SchedulerConfig config = defaults_of(kDdim);
  config.clip_sample = false;
  const SigmaTable table(config.noise);
  const auto error = [&](int steps) {
    float x = 0.3f;
    for (const SamplingPlan& plan : {ddim_inversion_plan(config, steps), make_plan(config, steps)}) {
      HostSampler sampler(plan, {x}, {1, 1});
      for (int i = 0; i < plan.evaluations(); ++i) {
        const double m = exact_epsilon(table, plan.steps[i].time, sampler.x()[0]);
        sampler.step(i, {static_cast<float>(m)}, {}, {0});
      }
      x = sampler.x()[0];
    }
    return std::abs(x / 0.3 - 1);
  };
  EXPECT_GT(error(20) / error(40), 1.6);
  EXPECT_LT(error(200), 0.02);
}

// Plans that begin at a later step go through the same levels, and begin with the order of a first step.
TEST(SamplingPlan, BeginLeavesOutTheFirstSteps) {
  for (const auto kind :
       {kDdpm, kDdim, kDpmSolver, kUniPc, kEuler, kEulerAncestral, kHeun, kEdmEuler, kFlowEuler, kFlowHeun}) {
    const SamplingPlan whole = make_plan(defaults_of(kind), 8),
                       rest = make_plan(defaults_of(kind), 8, {.begin = 3});
    const int left_out = whole.evaluations() - rest.evaluations();
    EXPECT_EQ(left_out, whole.history == 1 && kind != kDpmSolver ? 6 : 3);
    EXPECT_EQ(rest.steps[0].time, whole.steps[left_out].time);
    const NoiseLevel before = whole.steps[left_out - 1].after;
    if (kind != kDdim) {  // whose levels are those of t - T / N
      EXPECT_NEAR(rest.start.signal, before.signal, 1e-6);
      EXPECT_NEAR(rest.start.noise, before.noise, 1e-6 * before.noise);
    }
    for (const float h : rest.steps[0].update.y_h) EXPECT_EQ(h, 0);
    EXPECT_THROW(make_plan(defaults_of(kind), 8, {.begin = 8}), Error);
  }
}

TEST(BetaQuantile, IsTheInverseOfTheDistribution) {
  EXPECT_NEAR(beta_quantile(0.5, 0.6), 0.5, 1e-15);
  EXPECT_NEAR(beta_quantile(0.25, 1), 0.25, 1e-14);                               // uniform
  EXPECT_NEAR(beta_quantile(0.25, 0.5), std::pow(std::sin(M_PI / 8), 2), 1e-13);  // arcsine
  EXPECT_NEAR(beta_quantile(0.1, 2), 0.19580010565909172, 1e-13);                 // 3x^2 - 2x^3 = 0.1
  EXPECT_NEAR(beta_quantile(0.9, 2), 1 - 0.19580010565909172, 1e-13);
}

}  // namespace
}  // namespace imago
