#include "models/diffusion/scheduler_config.h"

#include <nlohmann/json.hpp>

#include "engine/io/json.h"
#include "kernels/error.h"
#include "models/json_fields.h"
#include "models/unet/config.h"

namespace imago {

using nlohmann::json;

namespace {

// Keys of both schedulers, for reading and for writing.
template <class Config, class Visit>
void for_each_common_key(Config& c, Visit visit) {
  visit("num_train_timesteps", c.noise.num_train_timesteps);
  visit("beta_start", c.noise.beta_start);
  visit("beta_end", c.noise.beta_end);
  visit("beta_schedule", c.noise.beta_schedule);
  visit("trained_betas", c.noise.trained_betas);
  visit("rescale_betas_zero_snr", c.noise.rescale_betas_zero_snr);
  visit("clip_sample", c.clip_sample);
  visit("clip_sample_range", c.clip_sample_range);
  visit("thresholding", c.thresholding);
  visit("dynamic_thresholding_ratio", c.dynamic_thresholding_ratio);
  visit("sample_max_value", c.sample_max_value);
  visit("timestep_spacing", c.timestep_spacing);
  visit("steps_offset", c.steps_offset);
}

void validate(const SchedulerConfig& c, const std::string& file) {
  const auto need = [&]<class... Parts>(bool ok, const char* key, const Parts&... parts) {
    if (!ok) bad_input(file, ": ", key, ": ", parts...);
  };
  require_supported(file, "timestep_spacing", c.timestep_spacing, {"leading", "linspace", "trailing"});
  require_supported(file, "variance_type", c.variance_type,
                    {"fixed_small", "fixed_small_log", "fixed_large"});
  need(c.clip_sample_range > 0, "clip_sample_range", "expected more than 0, not ", c.clip_sample_range);
  need(c.dynamic_thresholding_ratio >= 0 && c.dynamic_thresholding_ratio <= 1, "dynamic_thresholding_ratio",
       "expected 0 to 1, not ", c.dynamic_thresholding_ratio);
  need(c.sample_max_value >= 1, "sample_max_value", "expected at least 1, not ", c.sample_max_value);
  need(c.steps_offset >= 0, "steps_offset", "expected at least 0, not ", c.steps_offset);
  try {
    NoiseSchedule{c.noise};
  } catch (const Error& e) {
    throw Error(e.fault, file + ": " + e.what());
  }
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

SchedulerConfig parse_scheduler_config(const json& object, const std::string& file,
                                       std::vector<std::string>& warnings) {
  JsonFields fields(object, file);
  SchedulerConfig c;
  if (const auto at = object.find("_class_name"); at != object.end()) {
    const std::string name = at->is_string() ? at->get<std::string>() : at->dump();
    require_supported(file, "_class_name", name, {"DDPMScheduler", "DDIMScheduler"});
    if (name == "DDIMScheduler") c.kind = SchedulerConfig::Kind::kDdim;
  }
  for_each_common_key(c, [&](const char* key, auto& value) { fields.read(key, value); });
  fields.read("variance_type", c.variance_type);
  fields.read("set_alpha_to_one", c.set_alpha_to_one);
  std::string prediction = name_of(c.prediction_type);
  fields.read("prediction_type", prediction);
  c.prediction_type = parse_prediction_type(prediction, file + ": prediction_type");
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
  const bool ddim = config.kind == SchedulerConfig::Kind::kDdim;
  json out = {{"_class_name", ddim ? "DDIMScheduler" : "DDPMScheduler"},
              {"_diffusers_version", kDiffusersVersion},
              {"prediction_type", name_of(config.prediction_type)}};
  for_each_common_key(config, [&]<class T>(const char* key, const T& value) {
    if constexpr (requires { value.has_value(); })
      out[key] = value ? json(*value) : json();
    else
      out[key] = value;
  });
  if (ddim)
    out["set_alpha_to_one"] = config.set_alpha_to_one;
  else
    out["variance_type"] = config.variance_type;
  return out;
}

}  // namespace imago
