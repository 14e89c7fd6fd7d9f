// Samples images from a trained model; see --help.
#include <algorithm>
#include <cstdio>
#include <filesystem>
#include <limits>
#include <tuple>

#include "apps/common/command_line.h"
#include "apps/common/run_app.h"
#include "apps/common/sample_inputs.h"
#include "apps/common/sample_options.h"
#include "apps/common/trained_model.h"
#include "apps/common/trajectory.h"
#include "engine/image/png.h"
#include "engine/io/atomic_file.h"
#include "engine/io/safetensors.h"
#include "engine/report/progress.h"
#include "models/diffusion/sampler.h"
#include "models/layout.h"
#include "models/pixels.h"
#include "models/trainer/preview.h"
#include "models/unet/inputs.h"

namespace imago {
namespace fs = std::filesystem;

namespace {

constexpr const char* kProgram = "sample_ddpm";
constexpr int kDefaultImages = 16;

/// The first step that --strength or --start_timestep asks for.
int first_step(const SampleOptions& o, const SchedulerConfig& config) {
  if (o.init_image.empty() || !o.mask.empty()) return 0;
  const int steps = o.sampler.steps(config);
  if (!o.start_timestep) return std::min(steps - static_cast<int>(steps * o.strength), steps - 1);
  for (int begin = 0; begin < steps; ++begin)
    if (o.sampler.plan(config, begin).steps[0].time <= static_cast<float>(*o.start_timestep)) return begin;
  bad_input("--start_timestep ", *o.start_timestep, ": no step of the sampler is at or below it");
}

SamplingPlan make_plan(const SampleOptions& o, const SchedulerConfig& config) {
  if (!o.invert.empty()) return o.sampler.inversion(config);
  return o.sampler.plan(config, first_step(o, config));
}

/// How many images of which size: [N,H,W,C].
Shape images_to_sample(const SampleOptions& o, const UNetConfig& unet, const Tensor& noise) {
  const int64_t channels = unet.in_channels;
  int64_t n = o.num_images.value_or(o.invert.empty() ? kDefaultImages : 1), height = o.resolution.value_or(0),
          width = height;
  if (o.resolution) unet.check_resolution(height, width, "--resolution");
  if (noise) {
    const int64_t held = noise.dim(0);
    if (o.num_images && n != held)
      bad_input("--num_images ", n, ": ", o.initial_noise, " holds noise for ", held, " images");
    if (o.resolution && (height != noise.dim(1) || width != noise.dim(2)))
      bad_input("--resolution ", *o.resolution, ": ", o.initial_noise, " holds noise of ", noise.dim(1),
                " x ", noise.dim(2));
    n = held, height = noise.dim(1), width = noise.dim(2);
    unet.check_resolution(height, width, "--initial_noise " + o.initial_noise);
  }
  if (height == 0) {
    if (!unet.sample_size)
      bad_input("the model's config.json gives no sample_size: say which size to sample");
    height = (*unet.sample_size)[0], width = (*unet.sample_size)[1];
  }
  return {n, height, width, channels};
}

/// Labels of N images, none for a model without classes.
Tensor labels_of(const SampleOptions& o, const UNetConfig& unet, int64_t images, Device device) {
  const std::vector<int> labels = classes_to_sample(unet, o.class_label, o.guidance_scale, 0, images);
  if (labels.empty()) return {};
  return naming_option("--class_label", [&] { return class_labels_tensor(unet, labels, device); });
}

SampleRequest make_request(const SampleOptions& o, const UNetConfig& unet, Device device, DType compute) {
  SampleRequest r;
  if (!o.initial_noise.empty())
    r.initial_noise = read_initial_noise(o.initial_noise, unet.in_channels, device);
  const Shape images = images_to_sample(o, unet, r.initial_noise);
  for (int64_t k = 0; k < images[0]; ++k) r.ids.push_back(o.interpolate ? 0 : k);
  r.seed = o.seed;
  r.height = images[1], r.width = images[2];
  r.batch_size = o.batch_size;
  r.device = device;
  r.activations = compute;
  if (o.interpolate)
    r.initial_noise = interpolated_noise(o.interpolate->first, o.interpolate->second, images, device);
  if (!o.mask.empty()) {
    r.inpainting = {read_image_for("--init_image", o.init_image, images, device),
                    read_mask_for("--mask", o.mask, images, device), o.resample};
  } else if (!o.init_image.empty()) {
    r.initial_image = read_image_for("--init_image", o.init_image, images, device);
  } else if (!o.invert.empty()) {
    r.initial_image = read_image_for("--invert", o.invert, images, device);
  }
  r.class_labels = labels_of(o, unet, images[0], device);
  r.guidance.scale = o.guidance_scale;
  if (o.guidance_interval) std::tie(r.guidance.low, r.guidance.high) = *o.guidance_interval;
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
  for (const std::string& file : {o.output, o.save_tensors, o.trajectory, o.animation}) {
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
    const NamedTensor samples{o.invert.empty() ? "samples" : "noise",
                              {nchw.data(), DType::kFloat32, {n, channels, height, width}}};
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
  const TrainedModel model = open_trained_model(kProgram, o.model, o.raw_weights, device, compute);
  const SamplingPlan plan = make_plan(o, model.folder.scheduler);
  SampleRequest request = make_request(o, model.folder.unet, device, compute);
  prepare_outputs(o);
  if (const auto warning = o.sampler.guidance_warning(model.folder.scheduler, o.guidance_scale))
    warn_user(kProgram, *warning);

  Progress::Options look;
  look.label = "sample";
  look.unit = "steps";
  std::optional<Progress> progress;
  request.progress = [&](int64_t done, int64_t total) {
    if (!progress) progress.emplace(total, 0, look);
    progress->update(done, std::numeric_limits<double>::quiet_NaN(), 1);
  };
  Trajectory trajectory(static_cast<int64_t>(request.ids.size()));
  if (!o.trajectory.empty() || !o.animation.empty())
    request.watch = [&](int64_t first, const Tensor& x, const NoiseLevel& at) {
      trajectory.see(first, x, at);
    };
  const Tensor x = sample(*model.unet, plan, request);  // [N,H,W,C]
  progress->finish();
  write_outputs(o, x);
  if (!o.trajectory.empty()) write_png(o.trajectory, trajectory.film_strip());
  if (!o.animation.empty()) write_file(o.animation, trajectory.animation());
  for (const std::string& written : {o.output, o.output_dir, o.save_tensors, o.trajectory, o.animation}) {
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
