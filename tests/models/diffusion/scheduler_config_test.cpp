// scheduler_config.json: read, written, and taken over from one class to another.
#include "models/diffusion/scheduler_config.h"

#include <gtest/gtest.h>

#include <nlohmann/json.hpp>

#include "engine/io/json.h"
#include "kernels/error.h"
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

TEST(SchedulerConfig, DefaultsAreThoseOfDiffusers) {
  const json all = read_json(golden::folder() / "defaults.json");
  for (const auto& [name, theirs] : all.items()) {
    if (!name.ends_with("Scheduler")) continue;
    json ours = to_json(parse({{"_class_name", name}}));
    EXPECT_EQ(ours.at("_class_name"), name);
    std::erase_if(ours.get_ref<json::object_t&>(),
                  [](const auto& item) { return item.first.starts_with("_"); });
    EXPECT_EQ(ours, theirs) << name;
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
      {{{"variance_type", "learnt"}}, "variance_type: \"learnt\" is not supported"},
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
