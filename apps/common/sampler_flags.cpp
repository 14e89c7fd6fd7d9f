#include "apps/common/sampler_flags.h"

#include <algorithm>
#include <nlohmann/json.hpp>

#include "kernels/error.h"

namespace imago {

using nlohmann::json;
using enum SchedulerConfig::Kind;

namespace {

constexpr int kDefaultSteps = 50;

struct NamedKind {
  const char* name;
  SchedulerConfig::Kind kind;
};
constexpr NamedKind kSamplers[] = {
    {"ddpm", kDdpm},          {"ddim", kDdim},          {"dpmsolver++", kDpmSolver},
    {"unipc", kUniPc},        {"euler", kEuler},        {"euler_ancestral", kEulerAncestral},
    {"heun", kHeun},          {"edm_euler", kEdmEuler}, {"flow_euler", kFlowEuler},
    {"flow_heun", kFlowHeun},
};

/// A key of scheduler_config.json that the command line may set.
struct KeyOption {
  const char *key, *help;
};
constexpr KeyOption kKeys[] = {
    {"timestep_spacing", "Which times are visited: leading, linspace or trailing"},
    {"steps_offset", "Added to the times of leading"},
    {"variance_type",
     "ddpm: fixed_small, fixed_small_log, fixed_large, fixed_large_log, learned or learned_range"},
    {"clip_sample", "true or false: clamp the predicted image"},
    {"clip_sample_range", "To plus or minus this"},
    {"thresholding", "true or false: clamp by a quantile of each image instead (Saharia 2022)"},
    {"dynamic_thresholding_ratio", "That quantile"},
    {"sample_max_value", "The largest value to clamp to"},
    {"solver_order", "dpmsolver++, unipc: 1 to 3"},
    {"solver_type", "dpmsolver++: midpoint or heun; unipc: bh1 or bh2"},
    {"algorithm_type", "dpmsolver++: dpmsolver++ or sde-dpmsolver++"},
    {"lower_order_final", "true or false: lower orders in the last steps"},
    {"euler_at_final", "true or false: order 1 in the last step"},
    {"lambda_min_clipped", "dpmsolver++: leave out noisier times; -5.1 is usual for squaredcos_cap_v2"},
    {"predict_x0", "unipc: true or false (then epsilon)"},
    {"use_karras_sigmas", "true or false: noise levels of Karras 2022"},
    {"use_exponential_sigmas", "true or false: noise levels even in their logarithm"},
    {"use_beta_sigmas", "true or false: noise levels by the Beta(0.6, 0.6) distribution"},
    {"use_lu_lambdas", "dpmsolver++: true or false: noise levels even in ln(alpha / sigma)"},
    {"final_sigmas_type", "The level behind the last step: zero or sigma_min"},
    {"shift", "flow_euler, flow_heun: more than 1 takes more steps near the noise"},
};

std::string option_of(const char* key) {
  return std::string("--") + key;
}

/// A value as it is written in JSON, or a text.
json parsed_value(const std::string& text) {
  const json value = json::parse(text, nullptr, /*allow_exceptions=*/false);
  return value.is_discarded() ? json(text) : value;
}

const char* short_name(SchedulerConfig::Kind kind) {
  for (const NamedKind& s : kSamplers)
    if (s.kind == kind) return s.name;
  return "?";
}

}  // namespace

void SamplerFlags::declare(CommandLine& cli) {
  cli.choice("--scheduler", scheduler_,
             {"auto", "ddpm", "ddim", "dpmsolver++", "unipc", "euler", "euler_ancestral", "heun", "edm_euler",
              "edm_heun", "flow_euler", "flow_heun"},
             "auto: the one that the model's folder names");
  cli.whole_number("--num_inference_steps", steps_, 1,
                   "Steps; default: all noise levels for ddpm, 50 for the others");
  cli.number("--eta", options_.eta, NumberRange::at_least(0),
             "ddim: 0 adds no noise on the way, 1 as much as ddpm");
  cli.flag("--use_clipped_model_output", options_.use_clipped_model_output,
           "ddim: derive the noise again from the clamped image");
  cli.choice("--previous_step", previous_step_, {"ratio", "next"},
             "ddim: step to t - T / steps as diffusers does, or to the next time of the spacing");
  cli.number("--s_churn", options_.s_churn, NumberRange::at_least(0),
             "edm_heun: noise that is added on the way");
  cli.number("--s_tmin", options_.s_tmin, NumberRange::at_least(0), "edm_heun: at levels from this");
  cli.number("--s_tmax", options_.s_tmax, NumberRange::at_least(0), "edm_heun: to this");
  cli.number("--s_noise", options_.s_noise, NumberRange::at_least(0), "edm_heun: its standard deviation");
  cli.heading("Sampler, instead of what the model's folder says");
  for (const KeyOption& option : kKeys) cli.value_of(option_of(option.key), option.help);
}

void SamplerFlags::take(const CommandLine& cli) {
  for (const auto& [name, value] : cli.values())
    if (cli.given(name)) given_[name] = value;
}

bool SamplerFlags::is(const char* name, const SchedulerConfig& config) const {
  return scheduler_ == name || (scheduler_ == "auto" && std::string_view(short_name(config.kind)) == name);
}

int SamplerFlags::steps(const SchedulerConfig& config) const {
  const int all = config.noise.num_train_timesteps;
  const int steps = steps_.value_or(is("ddpm", config) ? all : std::min(all, kDefaultSteps));
  if (steps > all)
    bad_input("--num_inference_steps ", steps, ": the model has ", all, " noise levels, expected no more");
  return steps;
}

std::string SamplerFlags::sampler_name(const SchedulerConfig& config) const {
  return scheduler_ == "auto" ? short_name(config.kind) : scheduler_;
}

SamplerFlags SamplerFlags::with(const std::optional<std::string>& scheduler, std::optional<int> steps) const {
  SamplerFlags flags = *this;
  if (scheduler) {
    const auto same = [&](const NamedKind& s) { return s.name == *scheduler; };
    if (*scheduler != "edm_heun" && std::none_of(std::begin(kSamplers), std::end(kSamplers), same)) {
      std::string names = "edm_heun";
      for (const NamedKind& s : kSamplers) names = str(s.name, ", ", names);
      bad_input(*scheduler, ": expected one of ", names);
    }
    flags.scheduler_ = *scheduler;
  }
  if (steps) flags.steps_ = steps;
  return flags;
}

void SamplerFlags::refuse_foreign_options(const SchedulerConfig& config) const {
  const std::string sampler = sampler_name(config);
  const auto only = [&](const char* option, const char* owner) {
    if (given(option) && !is(owner, config))
      bad_input(option, ": is for --scheduler ", owner, "; ", sampler, " has no such option");
  };
  for (const char* option : {"--use_clipped_model_output", "--previous_step"}) only(option, "ddim");
  for (const char* option : {"--s_churn", "--s_tmin", "--s_tmax", "--s_noise"}) only(option, "edm_heun");
  if (given("--eta") && is("ddpm", config))
    bad_input("--eta: is for --scheduler ddim; ddpm has its own noise");
  only("--eta", "ddim");
}

SchedulerConfig SamplerFlags::chosen(const SchedulerConfig& folder) const {
  SchedulerConfig config = folder;
  for (const NamedKind& s : kSamplers)
    if (scheduler_ == s.name) config = as_kind(folder, s.kind);
  const bool edm = folder.kind == kEdmEuler;
  if (scheduler_ == "edm_heun" && !edm) config = as_kind(folder, kEuler);
  json keys = to_json(config);
  for (const KeyOption& option : kKeys) {
    const std::string name = option_of(option.key);
    if (!given(name)) continue;
    const bool fixed_levels = scheduler_ == "edm_heun" && !edm;  // Karras' levels, whatever EulerDiscrete has
    if (fixed_levels || !has_key(config.kind, option.key))
      bad_input(name, ": ", sampler_name(config), " has no such option");
    keys[option.key] = parsed_value(given_.at(name));
  }
  std::vector<std::string> no_warnings;
  config = parse_scheduler_config(keys, "command line", no_warnings);
  if (given("--solver_type") && config.solver_type != given_.at("--solver_type"))
    bad_input("--solver_type ", given_.at("--solver_type"), ": ", short_name(config.kind), " knows ",
              config.kind == kUniPc ? "bh1 and bh2" : "midpoint and heun");
  return config;
}

std::optional<std::string> SamplerFlags::guidance_warning(const SchedulerConfig& folder, double scale) const {
  if (scale <= 1 || !is("ddim", folder) || options_.use_clipped_model_output || !chosen(folder).clip_sample)
    return {};
  return str("--guidance_scale ", scale,
             ": ddim clamps predicted images but not the noise that belongs to them; ",
             "give --use_clipped_model_output, or --clip_sample false, to keep samples in their class");
}

SamplingPlan SamplerFlags::plan(const SchedulerConfig& folder, int begin) const {
  refuse_foreign_options(folder);
  const SchedulerConfig config = chosen(folder);
  SamplerOptions options = options_;
  options.follow_timesteps = previous_step_ == "next";
  options.begin = begin;
  if (scheduler_ == "edm_heun") return edm_heun_plan(config, steps(folder), options);
  return make_plan(config, steps(folder), options);
}

SamplingPlan SamplerFlags::inversion(const SchedulerConfig& folder) const {
  if (!is("ddim", folder) && scheduler_ != "auto")
    bad_input("--invert: is for --scheduler ddim, not ", scheduler_);
  refuse_foreign_options(folder);
  SchedulerConfig config = chosen(as_kind(folder, kDdim));
  if (!given("--clip_sample")) config.clip_sample = false;  // clamping loses what the noise has to keep
  return ddim_inversion_plan(config, steps(config));
}

}  // namespace imago
