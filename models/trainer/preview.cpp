#include "models/trainer/preview.h"

#include <cmath>

#include "engine/image/png.h"
#include "models/diffusion/sampler.h"
#include "models/pixels.h"
#include "models/trainer/trainer.h"

namespace imago {

Image sample_preview(Trainer& trainer, const PreviewOptions& options) {
  const TrainConfig& c = trainer.config();
  using enum SchedulerConfig::Kind;
  SchedulerConfig scheduler = c.scheduler;  // EDM and flow matching have their own samplers
  if (scheduler.kind == kDdpm || scheduler.kind == kDdim)
    scheduler = as_kind(scheduler, options.ddim ? kDdim : kDdpm);
  SampleRequest request;
  for (int k = 0; k < options.images; ++k) request.ids.push_back(k);
  request.seed = c.seed;
  request.height = c.height;
  request.width = c.width;
  request.batch_size = options.batch_size;
  request.device = c.device;
  request.activations = c.compute;
  if (options.keep_going) request.progress = [&](int64_t, int64_t) { options.keep_going(); };
  if (c.unet.takes_class_labels()) {
    const auto classes = static_cast<int>(trainer.data().class_names().size());
    std::vector<int> labels;
    for (int k = 0; k < options.images; ++k) labels.push_back(k % classes);
    request.class_labels = class_labels_tensor(c.unet, labels, c.device);
  }
  const FlatParameters::Swap swap(trainer.parameters(), trainer.result());
  const Tensor x =
      sample(trainer.model(), make_plan(scheduler, options.inference_steps), request);  // [N,H,W,C]
  const int columns = options.columns > 0 ? options.columns : grid_columns(options.images);
  return tile_images(to_pixels(x), options.images, static_cast<int>(c.height), static_cast<int>(c.width),
                     c.unet.in_channels, columns);
}

int grid_columns(int images) {
  return static_cast<int>(std::ceil(std::sqrt(static_cast<double>(images))));
}

}  // namespace imago
