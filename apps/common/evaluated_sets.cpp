#include "apps/common/evaluated_sets.h"

#include <algorithm>
#include <tuple>

#include "apps/common/command_line.h"
#include "models/diffusion/sampler.h"
#include "models/pixels.h"
#include "models/unet/inputs.h"

namespace imago {

ImageSet sample_images(UNet& model, const SamplingPlan& plan, const SamplingRun& run,
                       const StopSignals& signals, const std::string& label) {
  constexpr int64_t kBatches = 8;  // that are sampled before their pixels leave the device
  const UNetConfig& unet = model.config();
  ImageSet set{run.height, run.width, unet.in_channels};
  Stage stage(signals, label, "images", run.images * plan.evaluations());
  for (int64_t first = 0; first < run.images; first += kBatches * run.batch_size) {
    const int64_t count = std::min(kBatches * run.batch_size, run.images - first);
    SampleRequest request;
    for (int64_t k = first; k < first + count; ++k) request.ids.push_back(k);
    request.seed = run.seed;
    request.height = run.height, request.width = run.width;
    request.batch_size = run.batch_size;
    request.device = run.device;
    request.activations = run.compute;
    request.guidance.scale = run.guidance_scale;
    if (run.guidance_interval) std::tie(request.guidance.low, request.guidance.high) = *run.guidance_interval;
    const std::vector<int> labels =
        classes_to_sample(unet, run.class_label, run.guidance_scale, first, count);
    if (!labels.empty()) request.class_labels = class_labels_tensor(unet, labels, run.device);
    const int64_t batches = (count + run.batch_size - 1) / run.batch_size;
    request.progress = [&](int64_t done, int64_t) {
      const bool last_batch = (done - 1) / plan.evaluations() + 1 == batches;
      stage.advance(last_batch ? count - (batches - 1) * run.batch_size : run.batch_size);
    };
    const std::vector<uint8_t> pixels = to_pixels(sample(model, plan, request));
    set.pixels.insert(set.pixels.end(), pixels.begin(), pixels.end());
    set.labels.insert(set.labels.end(), labels.begin(), labels.end());
  }
  return set;
}

ImageSet read_samples(const std::string& path, int64_t most, const StopSignals& signals) {
  const auto data = naming_option(
      "--samples", [&] { return open_dataset(path, {.split = "test", .broken_images = {.refuse = true}}); });
  const int64_t count = std::min(data->size(), most);
  ImageSet set;
  for (int64_t i = 0; i < count; ++i) {
    const Image image = data->image(i);
    if (i == 0) set.height = image.height, set.width = image.width, set.channels = image.channels;
    if (image.height != set.height || image.width != set.width || image.channels != set.channels)
      bad_input("--samples ", data->name(i), ": is ", image.width, " x ", image.height, " with ",
                image.channels, " channels, the first image ", set.width, " x ", set.height, " with ",
                set.channels);
    set.pixels.insert(set.pixels.end(), image.pixels.begin(), image.pixels.end());
    if (!data->class_names().empty()) set.labels.push_back(data->label(i));
    if (signals.received()) throw Interrupted{signals.received()};
  }
  return set;
}

ImageSet read_data(const std::string& label, const std::shared_ptr<const Dataset>& data, int64_t height,
                   int64_t width, int64_t channels, std::optional<int64_t> most, uint64_t seed,
                   const StopSignals& signals) {
  Stage stage(signals, label, "images", std::min(data->size(), most.value_or(data->size())));
  return load_images(data, height, width, channels, most, seed, [&] { stage.advance(); });
}

}  // namespace imago
