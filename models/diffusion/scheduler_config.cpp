#include "models/diffusion/scheduler_config.h"

#include <cmath>
#include <nlohmann/json.hpp>
#include <string_view>

#include "engine/io/json.h"
#include "kernels/error.h"
#include "models/json_fields.h"
#include "models/unet/config.h"

namespace imago {

using nlohmann::json;

namespace {

using Kind = SchedulerConfig::Kind;
using enum SchedulerConfig::Kind;

constexpr Kind kAllKinds[] = {kDdpm,           kDdim, kDpmSolver, kUniPc,     kEuler,
                              kEulerAncestral, kHeun, kEdmEuler,  kFlowEuler, kFlowHeun};

bool is_multistep(Kind kind) {
  return kind == kDpmSolver || kind == kUniPc;
}
bool is_ddpm_or_ddim(Kind kind) {
  return kind == kDdpm || kind == kDdim;
}

// ---- Keys by class, for reading and for writing ----

template <class Config, class Visit>
void visit_betas(Config& c, Visit& visit) {
  visit("beta_start", c.noise.beta_start);
  visit("beta_end", c.noise.beta_end);
  visit("beta_schedule", c.noise.beta_schedule);
  visit("trained_betas", c.noise.trained_betas);
  if (c.kind != kHeun) visit("rescale_betas_zero_snr", c.noise.rescale_betas_zero_snr);
  visit("timestep_spacing", c.timestep_spacing);
  visit("steps_offset", c.steps_offset);
}

template <class Config, class Visit>
void visit_x0_bounds(Config& c, Visit& visit) {
  if (is_ddpm_or_ddim(c.kind) || c.kind == kHeun) {
    visit("clip_sample", c.clip_sample);
    visit("clip_sample_range", c.clip_sample_range);
  }
  if (is_ddpm_or_ddim(c.kind) || is_multistep(c.kind)) {
    visit("thresholding", c.thresholding);
    visit("dynamic_thresholding_ratio", c.dynamic_thresholding_ratio);
    visit("sample_max_value", c.sample_max_value);
  }
}

template <class Config, class Visit>
void visit_multistep(Config& c, Visit& visit) {
  visit("solver_order", c.solver_order);
  visit("solver_type", c.solver_type);
  visit("lower_order_final", c.lower_order_final);
  if (c.kind == kUniPc) {
    visit("predict_x0", c.predict_x0);
    visit("disable_corrector", c.disable_corrector);
    return;
  }
  visit("algorithm_type", c.algorithm_type);
  visit("euler_at_final", c.euler_at_final);
  visit("use_lu_lambdas", c.use_lu_lambdas);
  visit("lambda_min_clipped", c.lambda_min_clipped);
}

template <class Config, class Visit>
void visit_sigmas(Config& c, Visit& visit) {
  if (is_multistep(c.kind) || c.kind == kEuler || c.kind == kHeun || c.kind == kFlowEuler) {
    visit("use_karras_sigmas", c.use_karras_sigmas);
    visit("use_exponential_sigmas", c.use_exponential_sigmas);
    visit("use_beta_sigmas", c.use_beta_sigmas);
  }
  if (is_multistep(c.kind) || c.kind == kEuler || c.kind == kEdmEuler)
    visit("final_sigmas_type", c.final_sigmas_type);
  if (c.kind == kUniPc || c.kind == kEuler || c.kind == kEdmEuler) {
    visit("sigma_min", c.sigma_min);
    visit("sigma_max", c.sigma_max);
  }
}

template <class Config, class Visit>
void for_each_key(Config& c, Visit visit) {
  visit("num_train_timesteps", c.noise.num_train_timesteps);
  if (!is_flow(c.kind)) visit("prediction_type", c.prediction_type);
  if (has_betas(c.kind)) visit_betas(c, visit);
  visit_x0_bounds(c, visit);
  visit_sigmas(c, visit);
  if (c.kind == kDdpm) visit("variance_type", c.variance_type);
  if (c.kind == kDdim) visit("set_alpha_to_one", c.set_alpha_to_one);
  if (is_multistep(c.kind)) visit_multistep(c, visit);
  if (c.kind == kEuler) {
    visit("interpolation_type", c.interpolation_type);
    visit("timestep_type", c.timestep_type);
  }
  if (c.kind == kEdmEuler) {
    visit("sigma_data", c.sigma_data);
    visit("rho", c.rho);
    visit("sigma_schedule", c.sigma_schedule);
  }
  if (is_flow(c.kind)) visit("shift", c.shift);
  if (c.kind == kFlowEuler) {
    visit("shift_terminal", c.shift_terminal);
    visit("stochastic_sampling", c.stochastic_sampling);
  }
}

/// A key that has no effect here, with the value that switches it off: another value of a switch is refused.
struct UnusedKey {
  Kind kind;
  const char *key, *value;
  bool is_switch;
};
constexpr UnusedKey kUnusedKeys[] = {
    {kDpmSolver, "use_flow_sigmas", "false", true},
    {kDpmSolver, "use_dynamic_shifting", "false", true},
    {kDpmSolver, "flow_shift", "1.0", false},
    {kDpmSolver, "time_shift_type", "\"exponential\"", false},
    {kDpmSolver, "variance_type", "null", false},  // a learned variance is left unread
    {kUniPc, "use_flow_sigmas", "false", true},
    {kUniPc, "use_dynamic_shifting", "false", true},
    {kUniPc, "solver_p", "null", true},
    {kUniPc, "flow_shift", "1.0", false},
    {kUniPc, "time_shift_type", "\"exponential\"", false},
    {kUniPc, "shift_terminal", "null", false},
    {kFlowEuler, "use_dynamic_shifting", "false", true},
    {kFlowEuler, "invert_sigmas", "false", true},
    {kFlowEuler, "base_shift", "0.5", false},
    {kFlowEuler, "max_shift", "1.15", false},
    {kFlowEuler, "base_image_seq_len", "256", false},
    {kFlowEuler, "max_image_seq_len", "4096", false},
    {kFlowEuler, "time_shift_type", "\"exponential\"", false},
};

/// Reads the keys of config.kind.
class Reader {
 public:
  explicit Reader(JsonFields& fields) : fields_(fields) {}
  template <class T>
  void operator()(const char* key, T& value) {
    fields_.read(key, value);
  }
  void operator()(const char* key, PredictionType& type) {
    std::string name = name_of(type);
    fields_.read(key, name);
    type = parse_prediction_type(name, fields_.file() + ": " + key);
  }
  // Python writes -Infinity, which is no JSON and arrives as null.
  void operator()(const char* key, double& value) { read_unless_null("lambda_min_clipped", key, value); }
  // DPMSolverMultistepScheduler has another key of this name, null by default.
  void operator()(const char* key, std::string& value) { read_unless_null("variance_type", key, value); }

 private:
  template <class T>
  void read_unless_null(std::string_view nullable, const char* key, T& value) {
    const json* found = fields_.find(key);
    if (key != nullable || !found || !found->is_null()) fields_.read(key, value);
  }
  JsonFields& fields_;
};

/// Writes them. What JSON has no number for is left out: it is the default.
class Writer {
 public:
  explicit Writer(json& out) : out_(out) {}
  template <class T>
  void operator()(const char* key, const T& value) {
    if constexpr (requires { value.has_value(); })
      out_[key] = value ? json(*value) : json();
    else
      out_[key] = value;
  }
  void operator()(const char* key, const PredictionType& type) { out_[key] = name_of(type); }
  void operator()(const char* key, const double& value) {
    if (std::isfinite(value)) out_[key] = value;
  }

 private:
  json& out_;
};

void validate_names(const SchedulerConfig& c, const std::string& file) {
  require_supported(file, "timestep_spacing", c.timestep_spacing, {"leading", "linspace", "trailing"});
  require_supported(
      file, "variance_type", c.variance_type,
      {"fixed_small", "fixed_small_log", "fixed_large", "fixed_large_log", "learned", "learned_range"});
  require_supported(file, "algorithm_type", c.algorithm_type, {"dpmsolver++", "sde-dpmsolver++"});
  if (c.kind == kUniPc)
    require_supported(file, "solver_type", c.solver_type, {"bh1", "bh2"});
  else
    require_supported(file, "solver_type", c.solver_type, {"midpoint", "heun"});
  require_supported(file, "final_sigmas_type", c.final_sigmas_type, {"zero", "sigma_min"});
  require_supported(file, "interpolation_type", c.interpolation_type, {"linear", "log_linear"});
  require_supported(file, "timestep_type", c.timestep_type, {"discrete", "continuous"});
  require_supported(file, "sigma_schedule", c.sigma_schedule, {"karras", "exponential"});
}

void validate(const SchedulerConfig& c, const std::string& file) {
  const auto need = [&]<class... Parts>(bool ok, const char* key, const Parts&... parts) {
    if (!ok) bad_input(file, ": ", key, ": ", parts...);
  };
  validate_names(c, file);
  need(c.clip_sample_range > 0, "clip_sample_range", "expected more than 0, not ", c.clip_sample_range);
  need(c.dynamic_thresholding_ratio >= 0 && c.dynamic_thresholding_ratio <= 1, "dynamic_thresholding_ratio",
       "expected 0 to 1, not ", c.dynamic_thresholding_ratio);
  need(c.sample_max_value >= 1, "sample_max_value", "expected at least 1, not ", c.sample_max_value);
  need(c.steps_offset >= 0, "steps_offset", "expected at least 0, not ", c.steps_offset);
  need(c.solver_order >= 1 && c.solver_order <= 3, "solver_order", "expected 1 to 3, not ", c.solver_order);
  const int respacings =
      c.use_karras_sigmas + c.use_exponential_sigmas + c.use_beta_sigmas + c.use_lu_lambdas;
  need(respacings <= 1, "use_karras_sigmas",
       "only one of use_karras_sigmas, use_exponential_sigmas, use_beta_sigmas and use_lu_lambdas can be "
       "used");
  const double sigma_min = c.sigma_min.value_or(1e-3),
               sigma_max = c.sigma_max.value_or(SchedulerConfig::kUnbounded);
  need(sigma_min > 0, "sigma_min", "expected more than 0, not ", sigma_min);
  need(sigma_max > sigma_min, "sigma_max", "expected more than sigma_min, not ", sigma_max);
  need(c.sigma_data > 0, "sigma_data", "expected more than 0, not ", c.sigma_data);
  need(c.rho > 0, "rho", "expected more than 0, not ", c.rho);
  need(c.shift > 0, "shift", "expected more than 0, not ", c.shift);
  const double terminal = c.shift_terminal.value_or(0.5);
  need(terminal > 0 && terminal < 1, "shift_terminal", "expected more than 0 and less than 1, not ",
       terminal);
  need(c.kind != kEdmEuler || c.prediction_type != PredictionType::kSample, "prediction_type",
       "\"sample\" is not supported by EDMEulerScheduler (supported: epsilon, v_prediction)");
  try {
    NoiseSchedule{c.noise};
  } catch (const Error& e) {
    throw Error(e.fault, file + ": " + e.what());
  }
}

/// diffusers leaves the keys of other classes in a file that was converted. They are read, too: it may be
/// converted back.
void read_keys(JsonFields& fields, SchedulerConfig& c) {
  const Kind kind = c.kind;
  for (const Kind each : kAllKinds) {
    c.kind = each;
    for_each_key(c, Reader(fields));
  }
  c.kind = kind;
  // The two multistep classes know the variants of each other as their own default.
  const bool bh = c.solver_type == "bh1" || c.solver_type == "bh2";
  if (bh != (kind == kUniPc) && (bh || c.solver_type == "midpoint" || c.solver_type == "heun"))
    c.solver_type = kind == kUniPc ? "bh2" : "midpoint";
}

void refuse_unused_switches(const SchedulerConfig& c, JsonFields& fields) {
  for (const UnusedKey& unused : kUnusedKeys) {
    const json* found = fields.find(unused.key);
    if (unused.kind == c.kind && unused.is_switch && found && *found != json::parse(unused.value))
      bad_input(fields.file(), ": ", unused.key, ": ", found->dump(),
                " is not supported (supported: ", unused.value, ")");
  }
}

Kind parse_kind(const std::string& name, const std::string& file) {
  for (const Kind kind : kAllKinds)
    if (name == name_of(kind)) return kind;
  require_supported(
      file, "_class_name", name,
      {"DDPMScheduler", "DDIMScheduler", "DPMSolverMultistepScheduler", "UniPCMultistepScheduler",
       "EulerDiscreteScheduler", "EulerAncestralDiscreteScheduler", "HeunDiscreteScheduler",
       "EDMEulerScheduler", "FlowMatchEulerDiscreteScheduler", "FlowMatchHeunDiscreteScheduler"});
  failure("a scheduler class that has no kind: ", name);
}

}  // namespace

PredictionType parse_prediction_type(const std::string& name, const std::string& what) {
  if (name == "epsilon") return PredictionType::kEpsilon;
  if (name == "sample") return PredictionType::kSample;
  if (name == "v_prediction") return PredictionType::kVPrediction;
  bad_input(what, ": \"", name, "\" is not supported (supported: epsilon, sample, v_prediction)");
}

const char* name_of(PredictionType type) {
  switch (type) {
    case PredictionType::kEpsilon: return "epsilon";
    case PredictionType::kSample: return "sample";
    case PredictionType::kVPrediction: return "v_prediction";
  }
  return "?";
}

const char* name_of(Kind kind) {
  switch (kind) {
    case kDdpm: return "DDPMScheduler";
    case kDdim: return "DDIMScheduler";
    case kDpmSolver: return "DPMSolverMultistepScheduler";
    case kUniPc: return "UniPCMultistepScheduler";
    case kEuler: return "EulerDiscreteScheduler";
    case kEulerAncestral: return "EulerAncestralDiscreteScheduler";
    case kHeun: return "HeunDiscreteScheduler";
    case kEdmEuler: return "EDMEulerScheduler";
    case kFlowEuler: return "FlowMatchEulerDiscreteScheduler";
    case kFlowHeun: return "FlowMatchHeunDiscreteScheduler";
  }
  return "?";
}

bool has_betas(Kind kind) {
  return kind != kEdmEuler && kind != kFlowEuler && kind != kFlowHeun;
}

bool is_flow(Kind kind) {
  return kind == kFlowEuler || kind == kFlowHeun;
}

SchedulerConfig defaults_of(Kind kind) {
  SchedulerConfig c;
  c.kind = kind;
  if (is_ddpm_or_ddim(kind)) return c;
  c.clip_sample = false;
  if (has_betas(kind)) c.timestep_spacing = "linspace";
  if (kind == kUniPc) c.solver_type = "bh2";
  if (kind == kHeun) c.noise.beta_start = 0.00085, c.noise.beta_end = 0.012;
  if (kind == kEdmEuler) c.sigma_min = 0.002, c.sigma_max = 80.0;
  return c;
}

bool has_key(Kind kind, const std::string& key) {
  SchedulerConfig c = defaults_of(kind);
  bool found = false;
  for_each_key(c, [&](const char* name, const auto&) { found = found || key == name; });
  return found;
}

SchedulerConfig as_kind(const SchedulerConfig& config, Kind kind) {
  SchedulerConfig c = config;
  c.kind = kind;
  if (config.kind == kind || (is_ddpm_or_ddim(config.kind) && is_ddpm_or_ddim(kind))) return c;
  if (has_betas(config.kind) != has_betas(kind) || is_flow(config.kind) != is_flow(kind))
    bad_input(name_of(kind), " cannot sample from a model of ", name_of(config.kind));
  if (config.noise.rescale_betas_zero_snr && kind == kHeun)
    bad_input("HeunDiscreteScheduler cannot sample from a model with rescale_betas_zero_snr");
  json keys = to_json(config);
  keys["_class_name"] = name_of(kind);
  std::vector<std::string> keys_that_it_lacks;
  return parse_scheduler_config(keys, "scheduler", keys_that_it_lacks);
}

SchedulerConfig parse_scheduler_config(const json& object, const std::string& file,
                                       std::vector<std::string>& warnings) {
  JsonFields fields(object, file);
  Kind kind = kDdpm;
  if (const auto at = object.find("_class_name"); at != object.end())
    kind = parse_kind(at->is_string() ? at->get<std::string>() : at->dump(), file);
  SchedulerConfig c = defaults_of(kind);
  read_keys(fields, c);
  refuse_unused_switches(c, fields);
  if (fields.find("trained_betas") && c.noise.trained_betas)
    c.noise.num_train_timesteps = static_cast<int>(c.noise.trained_betas->size());
  for (std::string& warning : fields.unknown_keys()) warnings.push_back(std::move(warning));
  validate(c, file);
  return c;
}

SchedulerConfig read_scheduler_config(const std::filesystem::path& file, std::vector<std::string>& warnings) {
  return parse_scheduler_config(read_json(file), file.string(), warnings);
}

json to_json(const SchedulerConfig& config) {
  json out = {{"_class_name", name_of(config.kind)}, {"_diffusers_version", kDiffusersVersion}};
  for_each_key(config, Writer(out));
  for (const UnusedKey& unused : kUnusedKeys)
    if (unused.kind == config.kind) out[unused.key] = json::parse(unused.value);
  return out;
}

}  // namespace imago
