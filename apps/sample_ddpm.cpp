// Samples images from a trained model; see --help.
#include <algorithm>
#include <cstdio>
#include <filesystem>
#include <limits>
#include <memory>

#include "apps/common/command_line.h"
#include "apps/common/run_app.h"
#include "apps/common/sample_options.h"
#include "engine/image/png.h"
#include "engine/io/atomic_file.h"
#include "engine/io/safetensors.h"
#include "engine/report/progress.h"
#include "models/diffusion/pipeline_folder.h"
#include "models/diffusion/sampler.h"
#include "models/layout.h"
#include "models/trainer/preview.h"
#include "models/unet/weights.h"

namespace imago {
namespace fs = std::filesystem;

namespace {

constexpr const char* kProgram = "sample_ddpm";
constexpr int kDefaultImages = 16, kDefaultDdimSteps = 50;

/// A network with its weights, ready to sample.
struct LoadedModel {
  PipelineFolder folder;
  std::unique_ptr<UNet> unet;
  std::unique_ptr<FlatParameters> parameters;
};

LoadedModel load_model(const SampleOptions& o, Device device, DType compute) {
  LoadedModel m;
  m.folder = read_pipeline_folder(o.model);
  for (const std::string& w : m.folder.warnings) warn_user(kProgram, w);
  // A checkpoint keeps the moving average beside the weights; a finished model has it in their place.
  const fs::path ema = fs::path(o.model) / "unet_ema" / m.folder.weights.filename();
  if (!o.raw_weights && fs::exists(ema)) m.folder.weights = ema;
  m.unet = std::make_unique<UNet>(m.folder.unet);
  m.parameters = std::make_unique<FlatParameters>(
      *m.unet, FlatParameters::Options{device, DType::kFloat32, compute, false});
  load_weights(m.folder.weights, *m.parameters, m.parameters->values());
  m.parameters->refresh_compute();
  return m;
}

SamplingPlan make_plan(const SampleOptions& o, SchedulerConfig config) {
  using Kind = SchedulerConfig::Kind;
  if (o.scheduler != "auto") config = as_kind(config, o.scheduler == "ddim" ? Kind::kDdim : Kind::kDdpm);
  const bool ddim = config.kind == Kind::kDdim;
  if (o.eta_given && !ddim) bad_input("--eta: is for --scheduler ddim; ddpm has its own noise");
  const int64_t all = config.noise.num_train_timesteps;
  const int64_t steps =
      o.num_inference_steps.value_or(ddim ? std::min<int64_t>(all, kDefaultDdimSteps) : all);
  if (steps > all)
    bad_input("--num_inference_steps ", steps, ": the model has ", all, " noise levels, expected no more");
  return make_plan(config, static_cast<int>(steps), {.eta = o.eta});
}

/// Tensor "noise" [N,C,H,W] as [N,H,W,C] on the device.
Tensor read_initial_noise(const fs::path& path, int64_t channels, Device device) {
  const SafetensorsFile file(path);
  const auto& shape = file.entry("noise").shape;
  if (shape.size() != 4 || shape[1] != channels || shape[0] < 1)
    bad_input("--initial_noise ", path.string(), ": expected tensor noise of shape [N,", channels, ",H,W]");
  const Shape nchw{shape[0], shape[1], shape[2], shape[3]};
  const auto nhwc = nchw_to_nhwc(file.read_as_float32("noise"), nchw);
  return from_vector(nhwc, {shape[0], shape[2], shape[3], shape[1]}, device);
}

SampleRequest make_request(const SampleOptions& o, const UNetConfig& unet, Device device, DType compute) {
  SampleRequest r;
  int64_t n = o.num_images.value_or(kDefaultImages);
  r.height = r.width = o.resolution.value_or(0);
  if (o.resolution) unet.check_resolution(r.height, r.width, "--resolution");
  if (!o.initial_noise.empty()) {
    r.initial_noise = read_initial_noise(o.initial_noise, unet.in_channels, device);
    const int64_t held = r.initial_noise.dim(0);
    if (o.num_images && n != held)
      bad_input("--num_images ", n, ": ", o.initial_noise, " holds noise for ", held, " images");
    n = held;
    if (o.resolution && (r.height != r.initial_noise.dim(1) || r.width != r.initial_noise.dim(2)))
      bad_input("--resolution ", *o.resolution, ": ", o.initial_noise, " holds noise of ",
                r.initial_noise.dim(1), " x ", r.initial_noise.dim(2));
    r.height = r.initial_noise.dim(1);
    r.width = r.initial_noise.dim(2);
    unet.check_resolution(r.height, r.width, "--initial_noise " + o.initial_noise);
  }
  for (int64_t k = 0; k < n; ++k) r.ids.push_back(k);
  r.seed = o.seed;
  r.batch_size = o.batch_size;
  r.device = device;
  r.activations = compute;
  if (unet.takes_class_labels()) {
    if (!o.class_label && !unet.num_class_embeds) bad_input("--class_label: the model needs one");
    std::vector<int> labels;
    for (int64_t k = 0; k < n; ++k)
      labels.push_back(static_cast<int>(o.class_label ? *o.class_label : k % *unet.num_class_embeds));
    r.class_labels = class_labels_tensor(unet, labels, device);
  } else if (o.class_label) {
    bad_input("--class_label: the model knows no classes");
  }
  return r;
}

/// Makes the folders of the outputs and checks that files can be written there: before the work, not after
/// it.
void prepare_outputs(const SampleOptions& o) {
  const auto make = [](const fs::path& folder) {
    std::error_code error;
    if (!folder.empty()) fs::create_directories(folder, error);
    if (error) failure(folder.string(), ": cannot make the folder: ", error.message());
  };
  for (const std::string& file : {o.output, o.save_tensors}) {
    if (file.empty()) continue;
    if (fs::is_directory(file)) bad_input(file, ": is a folder, expected the name of a file");
    make(fs::path(file).parent_path());
    const AtomicFile probe(file);  // not committed: leaves nothing
  }
  if (o.output_dir.empty()) return;
  make(o.output_dir);
  const AtomicFile probe(fs::path(o.output_dir) / "probe");
}

void write_outputs(const SampleOptions& o, const Tensor& x) {  // x [N,H,W,C]
  const auto n = static_cast<int>(x.dim(0)), height = static_cast<int>(x.dim(1)),
             width = static_cast<int>(x.dim(2)), channels = static_cast<int>(x.dim(3));
  if (!o.save_tensors.empty()) {
    const auto nchw = nhwc_to_nchw(to_vector<float>(x), x.shape());
    const NamedTensor samples{"samples", {nchw.data(), DType::kFloat32, {n, channels, height, width}}};
    write_safetensors(o.save_tensors, std::span(&samples, 1));
  }
  if (o.output.empty() && o.output_dir.empty()) return;
  const std::vector<uint8_t> pixels = to_pixels(x);
  if (!o.output.empty()) {
    const int columns = o.columns > 0 ? o.columns : grid_columns(n);
    write_png(o.output, tile_images(pixels, n, height, width, channels, columns));
  }
  if (o.output_dir.empty()) return;
  const size_t size = pixels.size() / static_cast<size_t>(n);
  for (int k = 0; k < n; ++k) {
    char name[24];
    std::snprintf(name, sizeof name, "%05d.png", k);
    write_png(fs::path(o.output_dir) / name, std::span(pixels).subspan(static_cast<size_t>(k) * size, size),
              height, width, channels);
  }
}

int run(const SampleOptions& o) {
  const Device device = naming_option("--device", [&] { return parse_device(o.device); });
  const DType compute = o.mixed_precision == "bf16" ? DType::kBFloat16 : DType::kFloat32;
  const LoadedModel model = load_model(o, device, compute);
  const SamplingPlan plan = make_plan(o, model.folder.scheduler);
  SampleRequest request = make_request(o, model.folder.unet, device, compute);
  prepare_outputs(o);

  const int64_t batches = (static_cast<int64_t>(request.ids.size()) + o.batch_size - 1) / o.batch_size;
  Progress::Options look;
  look.label = "sample";
  look.unit = "steps";
  Progress progress(batches * plan.evaluations(), 0, look);
  request.progress = [&](int64_t done, int64_t) {
    progress.update(done, std::numeric_limits<double>::quiet_NaN(), 1);
  };
  const Tensor x = sample(*model.unet, plan, request);  // [N,H,W,C]
  progress.finish();
  write_outputs(o, x);
  for (const std::string& written : {o.output, o.output_dir, o.save_tensors}) {
    if (!written.empty()) std::printf("%s: wrote %s\n", kProgram, written.c_str());
  }
  return kExitOk;
}

}  // namespace
}  // namespace imago

int main(int argc, char** argv) {
  return imago::run_app("sample_ddpm", [&] {
    const auto options = imago::parse_sample_options(argc, argv);
    return options ? imago::run(*options) : imago::kExitOk;
  });
}
