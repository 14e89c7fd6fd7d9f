#include "models/trainer/checkpoint.h"

#include <unistd.h>

#include <algorithm>
#include <nlohmann/json.hpp>

#include "engine/io/atomic_file.h"
#include "engine/io/json.h"
#include "models/diffusion/pipeline_folder.h"
#include "models/trainer/trainer.h"
#include "models/weights.h"

namespace imago {
namespace fs = std::filesystem;
using nlohmann::json;

namespace {

constexpr int kFormat = 1;  // of trainer_state.json

/// What the numbers of a run hang on, besides model, noise schedule and weights. Named as the options are.
json settings_of(const Trainer& trainer) {
  const TrainConfig& c = trainer.config();
  json settings = {
      {"seed", c.seed},
      {"pictures", trainer.data().size()},
      {"resolution", {c.height, c.width}},
      {"train_batch_size", c.batch_size},
      {"gradient_accumulation_steps", c.gradient_accumulation_steps},
      {"center_crop", c.center_crop},
      {"random_flip", c.random_flip},
      {"max_train_steps", c.max_train_steps},
      {"learning_rate", c.learning_rate},
      {"lr_scheduler", c.lr_scheduler},
      {"lr_warmup_steps", c.lr_warmup_steps},
      {"adam_beta1", c.optimizer.beta1},
      {"adam_beta2", c.optimizer.beta2},
      {"adam_weight_decay", c.optimizer.weight_decay},
      {"adam_epsilon", c.optimizer.epsilon},
      {"max_grad_norm", c.optimizer.max_grad_norm},
      {"use_ema", c.optimizer.ema.has_value()},
      {"mixed_precision", c.compute == DType::kBFloat16 ? "bf16" : "no"},
      {"device", name_of(c.device)},
      {"loss_weighting", static_cast<int>(c.weighting)},
  };
  if (c.weighting == LossWeighting::kMinSnr) settings["snr_gamma"] = c.snr_gamma;
  if (!has_betas(c.scheduler.kind)) {
    const LevelDistribution levels = c.levels.value_or(default_levels(c.scheduler.kind));
    settings["level_mean"] = levels.mean;
    settings["level_std"] = levels.std;
  }
  if (c.class_dropout > 0) settings["class_dropout"] = c.class_dropout;
  if (c.optimizer.ema) {
    settings["ema_inv_gamma"] = c.optimizer.ema->inv_gamma;
    settings["ema_power"] = c.optimizer.ema->power;
    settings["ema_max_decay"] = c.optimizer.ema->max_decay;
  }
  return settings;
}

/// Bad input naming the first key in which two configurations differ.
void require_equal(const json& theirs, const json& ours, const fs::path& folder, const char* of_what) {
  for (const auto& [key, value] : ours.items()) {
    if (key.front() == '_' || key == "sample_size") continue;  // the size changes no weight
    if (!theirs.contains(key) || theirs.at(key) != value)
      bad_input(folder.string(), ": is a checkpoint of another ", of_what, ": ", key, " is ",
                theirs.value(key, json()).dump(), " there and ", value.dump(), " here");
  }
}

json read_state(const fs::path& folder) {
  const fs::path file = folder / "trainer_state.json";
  if (!fs::is_directory(folder)) bad_input(folder.string(), ": no such checkpoint");
  if (!fs::exists(file)) bad_input(folder.string(), ": not a checkpoint: it has no trainer_state.json");
  const json state = read_json(file);
  const auto whole = [&](const char* key) {
    return state.is_object() && state.contains(key) && state[key].is_number_integer();
  };
  if (!whole("format") || !whole("step") || state["step"] < 0 || !state.contains("settings") ||
      !state["settings"].is_object())
    bad_input(file.string(), ": expected an object with \"format\", \"step\" and \"settings\"");
  if (state["format"] != kFormat)
    bad_input(file.string(), ": format ", state["format"].dump(), " is not known here; expected ", kFormat);
  return state;
}

std::vector<std::string> compare_settings(json theirs, json ours) {
  std::vector<std::string> warnings;
  for (json* settings : {&theirs, &ours}) settings->emplace("class_dropout", 0.0);  // where there is none
  for (const auto& [key, value] : ours.items()) {
    if (theirs.contains(key) && theirs.at(key) != value)
      warnings.push_back(str("the interrupted run had ", key, " ", theirs.at(key).dump(), ", now it is ",
                             value.dump(), ": the run goes on, but not as if it had never been interrupted"));
  }
  return warnings;
}

}  // namespace

void write_checkpoint(const fs::path& folder, const Trainer& trainer) {
  const FlatParameters& parameters = trainer.parameters();
  const TrainConfig& c = trainer.config();
  StagedFolder stage(folder);
  write_pipeline_folder(stage.path(), c.unet, c.scheduler, parameters, parameters.values());
  if (trainer.optimizer().ema())
    write_unet_folder(stage.path() / "unet_ema", c.unet, parameters, trainer.optimizer().ema());
  const fs::path optimizer = stage.path() / "optimizer";
  std::error_code error;
  if (!fs::create_directory(optimizer, error)) failure(folder.string(), ": cannot write: ", error.message());
  save_weights(optimizer / "exp_avg.safetensors", parameters, trainer.optimizer().first_moment());
  save_weights(optimizer / "exp_avg_sq.safetensors", parameters, trainer.optimizer().second_moment());
  write_json(stage.path() / "trainer_state.json",
             {{"format", kFormat}, {"step", trainer.steps_done()}, {"settings", settings_of(trainer)}});
  stage.commit();
}

CheckpointRead read_checkpoint(const fs::path& folder, Trainer& trainer) {
  const TrainConfig& c = trainer.config();
  const json state = read_state(folder);
  const PipelineFolder pipeline = read_pipeline_folder(folder);
  require_equal(to_json(pipeline.unet), to_json(c.unet), folder, "model");
  require_equal(to_json(pipeline.scheduler), to_json(c.scheduler), folder, "noise schedule");

  CheckpointRead read;
  read.step = state["step"];
  read.warnings = compare_settings(state["settings"], settings_of(trainer));
  FlatParameters& parameters = trainer.parameters();
  AdamW& optimizer = trainer.optimizer();
  load_weights(pipeline.weights, parameters, parameters.values());
  parameters.refresh_compute();
  load_weights(folder / "optimizer" / "exp_avg.safetensors", parameters, optimizer.first_moment());
  load_weights(folder / "optimizer" / "exp_avg_sq.safetensors", parameters, optimizer.second_moment());
  const fs::path ema = folder / "unet_ema" / "diffusion_pytorch_model.safetensors";
  if (optimizer.ema() && fs::exists(ema)) {
    load_weights(ema, parameters, optimizer.ema());
  } else if (optimizer.ema()) {
    optimizer.start_ema();
    read.warnings.push_back(folder.string() + " has no EMA: it starts from the weights");
  }
  return read;
}

fs::path checkpoint_path(const fs::path& output, int64_t step) {
  return output / str("checkpoint-", step);
}

std::vector<CheckpointEntry> list_checkpoints(const fs::path& output) {
  constexpr std::string_view kPrefix = "checkpoint-";
  std::vector<CheckpointEntry> entries;
  std::error_code error;
  fs::directory_iterator it(output, error), end;
  for (; !error && it != end; it.increment(error)) {
    const std::string name = it->path().filename();
    if (name.rfind(kPrefix, 0) != 0 || !it->is_directory()) continue;
    const std::string digits = name.substr(kPrefix.size());
    if (digits.empty() || digits.size() > 18 || digits.find_first_not_of("0123456789") != digits.npos)
      continue;
    entries.push_back({std::stoll(digits), it->path()});
  }
  std::sort(entries.begin(), entries.end(), [](const auto& a, const auto& b) { return a.step < b.step; });
  return entries;
}

void prune_checkpoints(const fs::path& output, int64_t keep) {
  auto entries = list_checkpoints(output);
  for (size_t i = 0; static_cast<int64_t>(entries.size() - i) > keep; ++i) {
    // A name that remove_stale_temporaries knows, in case we are killed between the two.
    fs::path doomed = entries[i].path;
    doomed += str(".tmp-", getpid(), "-", 100000 + entries[i].step % 100000);
    std::error_code error;
    fs::rename(entries[i].path, doomed, error);
    if (!error) fs::remove_all(doomed, error);
    if (error) failure(entries[i].path.string(), ": cannot remove the old checkpoint: ", error.message());
  }
}

}  // namespace imago
