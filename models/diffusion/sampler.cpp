#include "models/diffusion/sampler.h"

#include <algorithm>
#include <cmath>

#include "engine/ops/elementwise.h"
#include "engine/ops/random.h"
#include "engine/tensor/captured_graph.h"
#include "models/diffusion/ops.h"
#include "models/diffusion/streams.h"
#include "models/diffusion/thresholding.h"

namespace imago {
namespace {

struct Size {
  int64_t height, width;
};

Size image_size(const UNet& model, const SampleRequest& r) {
  const auto& size = model.config().sample_size;
  Size p{r.height, r.width};
  if (p.height == 0 && p.width == 0) {
    if (!size) bad_input("the model's config.json gives no sample_size: say which size to sample");
    p = {(*size)[0], (*size)[1]};
  }
  model.config().check_resolution(p.height, p.width, "the size to sample");
  return p;
}

void check_request(const UNet& model, const SampleRequest& r) {
  const UNetConfig& c = model.config();
  if (r.batch_size < 1) bad_input("batch size: expected at least 1, not ", r.batch_size);
  if (r.ids.empty()) bad_input("number of images: expected at least 1");
  if (c.in_channels != c.out_channels)
    bad_input("a model with ", c.in_channels, " channels in and ", c.out_channels,
              " out cannot be sampled from");
  if (c.time_embedding_type == "fourier")
    bad_input(
        "time_embedding_type \"fourier\" divides by the time and cannot be sampled by DDPM or DDIM, whose "
        "times include 0");
}

// Images that go through the network together, from noise to the end. The network is the same work in every
// step: a captured graph.
class SamplingBatch {
 public:
  SamplingBatch(UNet& model, const Scheduler& scheduler, const SampleRequest& request,
                const MemoryPool& memory, int64_t first, int64_t count)
      : model_(model),
        scheduler_(scheduler),
        request_(request),
        first_(first),
        count_(count),
        network_(request.device, memory) {
    const auto begin = request.ids.begin() + first;
    ids_ = from_vector(std::vector<int64_t>(begin, begin + count), {count}, request.device);  // [B]
    if (request.class_labels) labels_ = rows_of(request.class_labels);
  }

  Tensor start(const Shape& image) const {  // x_T [B,H,W,C]
    const DType exact = request_.activations == DType::kFloat64 ? DType::kFloat64 : DType::kFloat32;
    if (request_.initial_noise) return cast(rows_of(request_.initial_noise), exact);
    const RandomKey key{request_.seed, random_stream(DiffusionPurpose::kSampleStart), ids_};
    return normal({count_, image[0], image[1], image[2]}, key, exact, request_.device);
  }

  Tensor step(const Tensor& x, int i) {  // x [B,H,W,C]
    const Tensor m = predict(x, scheduler_.timesteps()[i]);
    const SamplerStep s = scheduler_.step(i);
    const RandomKey key{request_.seed,
                        random_stream(DiffusionPurpose::kSampleNoise, static_cast<uint32_t>(i)), ids_};
    return scheduler_.config().thresholding ? thresholded(x, m, s, key) : sampler_step(x, m, s, key);
  }

 private:
  Tensor predict(const Tensor& x, int t) {  // x [B,H,W,C]
    if (!input_) {
      input_ = empty(x.shape(), request_.activations, request_.device);           // [B,H,W,C]
      times_ = empty({count_}, timestep_type(model_.config()), request_.device);  // [B]
    }
    copy(x, input_);
    upload_timesteps(model_.config(), std::vector<int>(static_cast<size_t>(count_), t), times_);
    network_.run([this] { output_ = model_.forward(input_, times_, labels_); });
    return output_;  // [B,H,W,C]
  }

  Tensor thresholded(const Tensor& x, const Tensor& m, const SamplerStep& s, const RandomKey& key) const {
    const Tensor z = s.sigma != 0 ? normal(x.shape(), key, x.dtype(), x.device()) : Tensor();  // [B,H,W,C]
    const SchedulerConfig& c = scheduler_.config();
    return thresholded_step(x, m, z, s, c.dynamic_thresholding_ratio, c.sample_max_value);
  }

  Tensor rows_of(const Tensor& all) const {  // [N,...] -> [B,...]
    Shape shape{count_};
    for (int i = 1; i < all.shape().rank(); ++i) shape.push_back(all.dim(i));
    return all.slice(first_ * (all.numel() / all.dim(0)), shape);
  }

  UNet& model_;
  const Scheduler& scheduler_;
  const SampleRequest& request_;
  int64_t first_, count_;
  Tensor ids_, labels_;
  Tensor input_, times_, output_;  // of the network, in place from step to step
  CapturedGraph network_;
};

}  // namespace

Tensor sample(UNet& model, const Scheduler& scheduler, const SampleRequest& request) {
  const NoGrad no_grad;
  check_request(model, request);
  const auto [height, width] = image_size(model, request);
  const Shape image{height, width, model.config().in_channels};
  const auto n = static_cast<int64_t>(request.ids.size());
  const Shape all{n, height, width, image[2]};
  if (request.initial_noise && request.initial_noise.shape() != all)
    bad_input("initial noise: expected ", all, " (images, height, width, channels), not ",
              request.initial_noise.shape());
  const DType exact = request.activations == DType::kFloat64 ? DType::kFloat64 : DType::kFloat32;
  const Tensor result = empty(all, exact, request.device);  // [N,H,W,C]
  const int64_t batches = (n + request.batch_size - 1) / request.batch_size,
                total = batches * scheduler.steps();
  int64_t done = 0;
  const MemoryPool memory(request.device);
  for (int64_t first = 0; first < n; first += request.batch_size) {
    const int64_t count = std::min<int64_t>(request.batch_size, n - first);
    SamplingBatch batch(model, scheduler, request, memory, first, count);
    Tensor x = batch.start(image);  // [B,H,W,C]
    for (int i = 0; i < scheduler.steps(); ++i) {
      x = batch.step(x, i);
      if (request.progress) request.progress(++done, total);
    }
    copy(x, result.slice(first * image.numel(), x.shape()));
  }
  return result;
}

std::vector<uint8_t> to_pixels(const Tensor& x) {
  std::vector<uint8_t> pixels;
  for (double value : to_doubles(x)) {
    const auto unit = std::clamp(static_cast<float>(value) / 2 + 0.5f, 0.0f, 1.0f);
    pixels.push_back(std::isnan(unit) ? 0 : static_cast<uint8_t>(std::nearbyint(unit * 255)));
  }
  return pixels;
}

}  // namespace imago
