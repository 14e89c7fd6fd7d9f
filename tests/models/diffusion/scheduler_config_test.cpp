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

// As diffusers' from_config: what both classes have stays, the rest is the new class's default.
TEST(SchedulerConfig, OpensAsAnotherClass) {
  const SchedulerConfig ddpm = parse({{"_class_name", "DDPMScheduler"},
                                      {"beta_schedule", "squaredcos_cap_v2"},
                                      {"timestep_spacing", "trailing"},
                                      {"variance_type", "fixed_large"},
                                      {"prediction_type", "v_prediction"}});
  const SchedulerConfig heun = as_kind(ddpm, SchedulerConfig::Kind::kHeun);
  EXPECT_EQ(heun.noise.beta_schedule, "squaredcos_cap_v2");
  EXPECT_EQ(heun.noise.beta_start, 1e-4);
  EXPECT_EQ(heun.timestep_spacing, "trailing");
  EXPECT_EQ(heun.prediction_type, PredictionType::kVPrediction);
  EXPECT_TRUE(heun.clip_sample);
  EXPECT_EQ(as_kind(as_kind(ddpm, SchedulerConfig::Kind::kDdim), SchedulerConfig::Kind::kDdpm), ddpm);
  const SchedulerConfig unipc =
      as_kind(as_kind(ddpm, SchedulerConfig::Kind::kDpmSolver), SchedulerConfig::Kind::kUniPc);
  EXPECT_EQ(unipc.solver_type, "bh2");
  EXPECT_THROW(as_kind(ddpm, SchedulerConfig::Kind::kFlowHeun), Error);
  EXPECT_THROW(as_kind(ddpm, SchedulerConfig::Kind::kEdmEuler), Error);
}

// What diffusers leaves in a file that was converted from another class is known; so are its infinities.
TEST(SchedulerConfig, KnowsTheKeysOfOtherClasses) {
  const SchedulerConfig c = parse({{"_class_name", "DPMSolverMultistepScheduler"},
                                   {"clip_sample", true},
                                   {"set_alpha_to_one", false},
                                   {"solver_type", "bh2"},
                                   {"variance_type", nullptr},
                                   {"lambda_min_clipped", nullptr},
                                   {"_use_default_values", {"solver_order"}},
                                   {"solver_order", 3}});
  EXPECT_EQ(c.solver_type, "midpoint");
  EXPECT_EQ(c.solver_order, 2);
  EXPECT_EQ(c.lambda_min_clipped, -SchedulerConfig::kUnbounded);
  EXPECT_EQ(as_kind(c, SchedulerConfig::Kind::kDpmSolver).kind, SchedulerConfig::Kind::kDpmSolver);
  EXPECT_FALSE(to_json(c).contains("lambda_min_clipped"));
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
      {{{"_class_name", "DPMSolverMultistepScheduler"}, {"algorithm_type", "dpmsolver"}},
       "algorithm_type: \"dpmsolver\" is not supported"},
      {{{"_class_name", "UniPCMultistepScheduler"}, {"use_flow_sigmas", true}},
       "use_flow_sigmas: true is not supported"},
      {{{"_class_name", "UniPCMultistepScheduler"}, {"solver_order", 4}},
       "solver_order: expected 1 to 3, not 4"},
      {{{"_class_name", "EulerDiscreteScheduler"}, {"use_karras_sigmas", true}, {"use_beta_sigmas", true}},
       "use_karras_sigmas: only one of"},
      {{{"_class_name", "EDMEulerScheduler"}, {"sigma_min", 90}}, "sigma_max: expected more than sigma_min"},
      {{{"_class_name", "FlowMatchEulerDiscreteScheduler"}, {"shift", 0}},
       "shift: expected more than 0, not 0"},
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
