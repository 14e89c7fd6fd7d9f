// Pipeline folders and weight files: what diffusers wrote is read, what is written is read back, the rest is
// refused in one line.
#include <gtest/gtest.h>

#include <nlohmann/json.hpp>

#include "engine/io/json.h"
#include "engine/io/safetensors.h"
#include "models/diffusion/pipeline_folder.h"
#include "models/diffusion/sampler.h"
#include "models/weights.h"
#include "tests/models/golden.h"
#include "tests/support/temp_folder.h"

namespace imago {
namespace {

namespace fs = std::filesystem;
using test::expect_bad_input;
using test::TempFolder;

constexpr const char* kWeights = "diffusion_pytorch_model.safetensors";

fs::path given() {
  return golden::folder() / "pipeline";
}

struct Model {
  explicit Model(const UNetConfig& config, bool fill = true) : unet(config), parameters(unet, {}) {
    if (fill) golden::fill(parameters);
  }
  std::vector<float> values() const { return to_vector<float>(parameters.values()); }
  UNet unet;
  FlatParameters parameters;
};

void copy_to(const fs::path& from, const fs::path& to) {
  fs::create_directories(to.parent_path());
  fs::copy(from, to, fs::copy_options::recursive);
}

TEST(PipelineFolder, ReadsWhatDiffusersWrote) {
  const PipelineFolder p = read_pipeline_folder(given());
  EXPECT_TRUE(p.warnings.empty());
  EXPECT_EQ(p.unet.block_out_channels, (std::vector<int>{4, 8}));
  EXPECT_EQ(p.unet.downsample_padding, 0);
  EXPECT_FALSE(p.unet.attention_head_dim.has_value());
  EXPECT_EQ(p.scheduler.variance_type, "fixed_large");
  EXPECT_EQ(p.weights, given() / "unet" / kWeights);
  Model expected(p.unet), m(p.unet, false);
  load_weights(p.weights, m.parameters, m.parameters.values());
  EXPECT_EQ(m.values(), expected.values());
}

TEST(PipelineFolder, ReadsTheFlatLayout) {
  const TempFolder flat;
  for (const char* name : {"config.json", kWeights}) copy_to(given() / "unet" / name, flat / name);
  PipelineFolder p = read_pipeline_folder(flat.path());
  EXPECT_EQ(p.weights, flat / kWeights);
  ASSERT_EQ(p.warnings.size(), 1);  // no scheduler
  EXPECT_NE(p.warnings[0].find("assuming DDPM"), std::string::npos);
  copy_to(given() / "scheduler" / "scheduler_config.json", flat / "scheduler_config.json");
  p = read_pipeline_folder(flat.path());
  EXPECT_TRUE(p.warnings.empty());
  EXPECT_EQ(p.scheduler.variance_type, "fixed_large");
}

TEST(PipelineFolder, WritesWhatItReads) {
  const TempFolder out;
  test::put(out / "run/metrics.jsonl", "kept");
  UNetConfig config = read_pipeline_folder(given()).unet;
  const Model m(config);
  SchedulerConfig scheduler;
  scheduler.kind = SchedulerConfig::Kind::kDdim;
  scheduler.noise.beta_schedule = "squaredcos_cap_v2";
  for (int round = 0; round < 2; ++round) {  // the second replaces the first
    config.norm_eps = round == 0 ? 1e-6 : 1e-5;
    write_pipeline_folder(out / "run", config, scheduler, m.parameters, m.parameters.values());
    const PipelineFolder p = read_pipeline_folder(out / "run");
    EXPECT_TRUE(p.warnings.empty());
    EXPECT_EQ(p.unet, config);
    EXPECT_EQ(p.scheduler, scheduler);
    Model again(p.unet, false);
    load_weights(p.weights, again.parameters, again.parameters.values());
    EXPECT_EQ(again.values(), m.values());
  }
  EXPECT_EQ(test::get(out / "run/metrics.jsonl"), "kept");
  EXPECT_EQ(out.names(), std::vector<std::string>{"run"});
  int files = 0;
  for (const auto& entry : fs::recursive_directory_iterator(out / "run")) files += entry.is_regular_file();
  EXPECT_EQ(files, 5);  // no temporary is left
  const nlohmann::json index = read_json(out / "run/model_index.json");
  EXPECT_EQ(index.at("_class_name"), "DDIMPipeline");
  EXPECT_EQ(index.at("unet"), (nlohmann::json{"diffusers", "UNet2DModel"}));
  EXPECT_EQ(index.at("scheduler"), (nlohmann::json{"diffusers", "DDIMScheduler"}));
}

// Byte for byte: same names, order, types and metadata as diffusers' own file.
TEST(PipelineFolder, WeightFilesAreThoseOfDiffusers) {
  const TempFolder out;
  Model m(read_pipeline_folder(given()).unet, false);
  load_weights(given() / "unet" / kWeights, m.parameters, m.parameters.values());
  save_weights(out / "w.safetensors", m.parameters, m.parameters.values());
  const SafetensorsFile ours(out / "w.safetensors"), theirs(given() / "unet" / kWeights);
  EXPECT_EQ(ours.metadata(), theirs.metadata());
  ASSERT_EQ(ours.entries().size(), theirs.entries().size());
  for (const SafetensorsFile::Entry& e : theirs.entries()) {
    EXPECT_EQ(ours.entry(e.name).shape, e.shape) << e.name;
    EXPECT_EQ(ours.entry(e.name).dtype, e.dtype) << e.name;
    EXPECT_EQ(ours.read_as_float32(e.name), theirs.read_as_float32(e.name)) << e.name;
  }
}

TEST(PipelineFolder, RefusesWhatIsNotOne) {
  const TempFolder t;
  expect_bad_input({"no/such", "no such folder"}, [&] { read_pipeline_folder(t / "no/such"); });
  expect_bad_input({t.path().string(), "neither unet/config.json nor config.json"},
                   [&] { read_pipeline_folder(t.path()); });
  copy_to(given() / "unet" / "config.json", t / "a/unet/config.json");
  expect_bad_input({"a/unet", "has no weights", kWeights}, [&] { read_pipeline_folder(t / "a"); });
  test::put(t / "a/unet/diffusion_pytorch_model.bin", "pickle");
  expect_bad_input({"diffusion_pytorch_model.bin", "refused", "convert", "save_pretrained"},
                   [&] { read_pipeline_folder(t / "a"); });
  test::put(t / ("a/unet/" + std::string(kWeights) + ".index.json"), "{}");
  expect_bad_input({"a/unet", "split over several files"}, [&] { read_pipeline_folder(t / "a"); });
  test::put(t / "a/model_index.json", R"({"_class_name": "StableDiffusionPipeline"})");
  expect_bad_input({"a/model_index.json", "StableDiffusionPipeline", "not supported"},
                   [&] { read_pipeline_folder(t / "a"); });
  test::put(t / "a/model_index.json", "{");
  expect_bad_input({"a/model_index.json", "not valid JSON"}, [&] { read_pipeline_folder(t / "a"); });
}

TEST(PipelineFolder, ConfigurationsAnywhere) {
  std::vector<std::string> warnings;
  const UNetConfig expected = read_pipeline_folder(given()).unet;
  for (const fs::path& path : {given(), given() / "unet", given() / "unet" / "config.json"})
    EXPECT_EQ(read_unet_config_anywhere(path, warnings), expected) << path;
  expect_bad_input({"missing.json"}, [&] { read_unet_config_anywhere(given() / "missing.json", warnings); });
}

// ---- Weights ----

struct HostTensor {
  std::vector<float> values;
  Shape shape;
};

// All tensors of diffusers' file, to be spoilt and written again.
std::map<std::string, HostTensor> all_tensors() {
  const SafetensorsFile file(given() / "unet" / kWeights);
  std::map<std::string, HostTensor> tensors;
  for (const SafetensorsFile::Entry& e : file.entries()) {
    Shape shape;
    for (const int64_t extent : e.shape) shape.push_back(extent);
    tensors[e.name] = {file.read_as_float32(e.name), shape};
  }
  return tensors;
}

void write(const fs::path& path, const std::map<std::string, HostTensor>& tensors) {
  std::vector<NamedTensor> list;
  for (const auto& [name, t] : tensors) list.push_back({name, {t.values.data(), DType::kFloat32, t.shape}});
  write_safetensors(path, list);
}

void rename(std::map<std::string, HostTensor>& tensors, const std::string& from, const std::string& to) {
  std::map<std::string, HostTensor> renamed;
  for (auto& [name, t] : tensors) {
    std::string key = name;
    if (const size_t at = key.find(from); at != key.npos) key.replace(at, from.size(), to);
    renamed[key] = std::move(t);
  }
  tensors = std::move(renamed);
}

TEST(Weights, OlderAttentionNames) {
  const TempFolder t;
  auto tensors = all_tensors();
  rename(tensors, "to_q", "query");
  rename(tensors, "to_k", "key");
  rename(tensors, "to_v", "value");
  rename(tensors, "to_out.0", "proj_attn");
  write(t / "w.safetensors", tensors);
  Model expected(read_pipeline_folder(given()).unet), m(expected.unet.config(), false);
  load_weights(t / "w.safetensors", m.parameters, m.parameters.values());
  EXPECT_EQ(m.values(), expected.values());
}

TEST(Weights, BFloat16FilesAreWidened) {
  const TempFolder t;
  const auto tensors = all_tensors();
  std::map<std::string, std::vector<bf16>> narrow;
  std::vector<NamedTensor> list;
  for (const auto& [name, tensor] : tensors) {
    for (const float v : tensor.values) narrow[name].push_back(bf16(v));
    list.push_back({name, {narrow[name].data(), DType::kBFloat16, tensor.shape}});
  }
  write_safetensors(t / "w.safetensors", list);
  Model expected(read_pipeline_folder(given()).unet), m(expected.unet.config(), false);
  load_weights(t / "w.safetensors", m.parameters, m.parameters.values());
  const std::vector<float> ours = m.values(), exact = expected.values();
  for (size_t i = 0; i < ours.size(); ++i) ASSERT_EQ(ours[i], static_cast<float>(bf16(exact[i])));
}

TEST(Weights, OfAnotherModelAreRefusedAndChangeNothing) {
  const TempFolder t;
  Model m(read_pipeline_folder(given()).unet);
  const std::vector<float> before = m.values();
  const auto refused = [&](const std::vector<std::string>& parts, auto spoil) {
    auto tensors = all_tensors();
    spoil(tensors);
    write(t / "w.safetensors", tensors);
    std::vector<std::string> expected = parts;
    expected.push_back((t / "w.safetensors").string());
    expect_bad_input(expected,
                     [&] { load_weights(t / "w.safetensors", m.parameters, m.parameters.values()); });
    EXPECT_EQ(m.values(), before);
  };
  refused({"conv_out.bias", "missing"}, [](auto& all) { all.erase("conv_out.bias"); });
  refused({"extra.weight", "unexpected"}, [](auto& all) { all["extra.weight"] = all["conv_out.bias"]; });
  refused({"conv_in.weight", "expected shape [4,3,3,3], not [3,4,3,3]"}, [](auto& all) {
    all["conv_in.weight"].shape = {3, 4, 3, 3};
  });
  std::string whole = test::get(given() / "unet" / kWeights);
  test::put(t / "w.safetensors", whole.substr(0, whole.size() - 10));
  expect_bad_input({(t / "w.safetensors").string()},
                   [&] { load_weights(t / "w.safetensors", m.parameters, m.parameters.values()); });
  expect_bad_input({"none.safetensors"},
                   [&] { load_weights(t / "none.safetensors", m.parameters, m.parameters.values()); });
  EXPECT_EQ(m.values(), before);
}

// What check_diffusers_roundtrip.py opens in diffusers: folders written here, and what the models make of an
// input.
TEST(PipelineFolder, ForDiffusers) {
  const char* target = std::getenv("IMAGO_ROUNDTRIP_FOLDER");
  const TempFolder fallback;
  const fs::path folder = target ? fs::path(target) : fallback.path();
  for (const char* name : {"plain", "wide"}) {
    UNetConfig config = read_pipeline_folder(given()).unet;
    if (std::string(name) == "wide") {  // the first levels of google/ddpm-cifar10-32, with several heads
      config.block_out_channels = {128, 256};
      config.norm_num_groups = 32;
      config.attention_head_dim = 8;
      config.sample_size = {{16, 16}};
    }
    Model m(config);
    write_pipeline_folder(folder / name, config, SchedulerConfig{}, m.parameters, m.parameters.values());
    const int64_t side = (*config.sample_size)[0];
    const Shape nhwc{2, side, side, 3}, nchw{2, 3, side, side};
    const std::vector<float> noise = golden::numbers("noise", nchw);
    const Tensor x = from_vector(nchw_to_nhwc(noise, nchw), nhwc, Device::kCpu);
    const NoGrad no_grad;
    const Tensor y = m.unet.forward(x, timesteps_tensor(config, {999, 421}, Device::kCpu));
    SampleRequest request{.ids = {0, 1}};
    request.initial_noise = x;
    SchedulerConfig ddim;
    ddim.kind = SchedulerConfig::Kind::kDdim;
    const Tensor samples = sample(m.unet, make_plan(ddim, 5), request);
    const std::vector<float> output = nhwc_to_nchw(to_vector<float>(y), nhwc);
    const std::vector<float> images = nhwc_to_nchw(to_vector<float>(samples), nhwc);
    const NamedTensor tensors[] = {{"noise", {noise.data(), DType::kFloat32, nchw}},
                                   {"output", {output.data(), DType::kFloat32, nchw}},
                                   {"samples", {images.data(), DType::kFloat32, nchw}}};
    write_safetensors(folder / name / "outputs.safetensors", tensors);
    EXPECT_TRUE(fs::exists(folder / name / "unet" / kWeights));
  }
}

}  // namespace
}  // namespace imago
