#include "models/diffusion/pipeline_folder.h"

#include <nlohmann/json.hpp>

#include "engine/io/atomic_file.h"
#include "engine/io/json.h"
#include "models/weights.h"

namespace imago {

namespace fs = std::filesystem;
using nlohmann::json;

namespace {

constexpr const char* kWeights = "diffusion_pytorch_model.safetensors";

bool is_file(const fs::path& path) {
  std::error_code ignored;
  return fs::is_regular_file(path, ignored);
}

bool is_folder(const fs::path& path) {
  std::error_code ignored;
  return fs::is_directory(path, ignored);
}

// The safetensors file of a model folder; anything else that diffusers may have left there is explained.
fs::path find_weights(const fs::path& folder) {
  if (is_file(folder / kWeights)) return folder / kWeights;
  if (is_file(folder / (std::string(kWeights) + ".index.json")))
    bad_input(folder.string(),
              ": the weights are split over several files, which is not supported: save them in "
              "diffusers with save_pretrained(..., max_shard_size=\"100GB\")");
  if (is_file(folder / "diffusion_pytorch_model.bin"))
    bad_input(
        (folder / "diffusion_pytorch_model.bin").string(),
        ": pickled weights can run code and are refused; convert them with python -c \"from diffusers import "
        "UNet2DModel as M; M.from_pretrained('",
        folder.string(), "', use_safetensors=False).save_pretrained('", folder.string(), "')\"");
  bad_input(folder.string(), ": has no weights: expected ", kWeights);
}

// Is this pipeline one of ours? Absent in flat folders.
void check_model_index(const fs::path& file) {
  const json index = read_json(file);
  const std::string name = index.is_object() ? index.value("_class_name", json()).dump() : index.dump();
  if (name != "\"DDPMPipeline\"" && name != "\"DDIMPipeline\"")
    bad_input(file.string(), ": _class_name: ", name,
              " is not supported (supported: DDPMPipeline, DDIMPipeline)");
}

fs::path find_unet_folder(const fs::path& folder) {
  if (!is_folder(folder)) bad_input(folder.string(), ": no such folder: expected a diffusers pipeline");
  if (is_file(folder / "unet" / "config.json")) return folder / "unet";
  if (is_file(folder / "config.json")) return folder;
  bad_input(folder.string(), ": not a diffusers pipeline: it has neither unet/config.json nor config.json");
}

void make_folder(const fs::path& folder) {
  std::error_code error;
  fs::create_directories(folder, error);
  if (error) failure(folder.string(), ": cannot make the folder: ", error.message());
}

}  // namespace

PipelineFolder read_pipeline_folder(const fs::path& folder) {
  PipelineFolder pipeline;
  const fs::path unet = find_unet_folder(folder);
  if (is_file(folder / "model_index.json")) check_model_index(folder / "model_index.json");
  pipeline.unet = read_unet_config(unet / "config.json", pipeline.warnings);
  pipeline.weights = find_weights(unet);
  fs::path scheduler = folder / "scheduler" / "scheduler_config.json";
  if (!is_file(scheduler)) scheduler = folder / "scheduler_config.json";
  if (is_file(scheduler))
    pipeline.scheduler = read_scheduler_config(scheduler, pipeline.warnings);
  else
    pipeline.warnings.push_back(
        str(folder.string(), ": has no scheduler_config.json: assuming DDPM with 1000 linear steps"));
  return pipeline;
}

void write_unet_folder(const fs::path& folder, const UNetConfig& unet, const FlatParameters& parameters,
                       const Tensor& flat) {
  StagedFolder staged(folder);
  write_json(staged.path() / "config.json", to_json(unet));
  save_weights(staged.path() / kWeights, parameters, flat);
  staged.commit();
}

void write_pipeline_folder(const fs::path& folder, const UNetConfig& unet, const SchedulerConfig& scheduler,
                           const FlatParameters& parameters, const Tensor& flat) {
  make_folder(folder);
  write_unet_folder(folder / "unet", unet, parameters, flat);
  StagedFolder staged(folder / "scheduler");
  write_json(staged.path() / "scheduler_config.json", to_json(scheduler));
  staged.commit();
  const bool ddim = scheduler.kind == SchedulerConfig::Kind::kDdim;
  write_json(folder / "model_index.json", {{"_class_name", ddim ? "DDIMPipeline" : "DDPMPipeline"},
                                           {"_diffusers_version", kDiffusersVersion},
                                           {"scheduler", {"diffusers", name_of(scheduler.kind)}},
                                           {"unet", {"diffusers", "UNet2DModel"}}});
}

UNetConfig read_unet_config_anywhere(const fs::path& path, std::vector<std::string>& warnings) {
  if (is_folder(path)) return read_unet_config(find_unet_folder(path) / "config.json", warnings);
  return read_unet_config(path, warnings);
}

}  // namespace imago
