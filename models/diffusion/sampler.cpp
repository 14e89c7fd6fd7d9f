#include "models/diffusion/sampler.h"

#include <algorithm>

#include "models/diffusion/sampled_batch.h"

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

void check_guidance(const UNetConfig& c, const SampleRequest& r) {
  if (r.guidance.scale == 1) return;
  if (!r.class_labels) bad_input("guidance: the images have no class to be guided to");
  if (!c.imago_null_class)
    bad_input(
        "guidance: the model was not trained without classes (its config.json names no imago_null_class)");
}

void check_plan(const UNetConfig& c, const SamplingPlan& plan, const SampleRequest& r) {
  const auto learned = [](const PlannedStep& step) { return step.update.noise != StepNoise::kFixed; };
  if (c.out_channels == c.in_channels && std::any_of(plan.steps.begin(), plan.steps.end(), learned))
    bad_input(
        "variance_type: the model predicts no variance (its out_channels are not twice its in_channels)");
  if (r.inpainting.known && (plan.history > 0 || r.initial_image))
    bad_input("inpainting: needs a sampler that looks at one step alone, and begins with noise");
}

void check_request(const UNet& model, const SamplingPlan& plan, const SampleRequest& r) {
  const UNetConfig& c = model.config();
  if (r.batch_size < 1) bad_input("batch size: expected at least 1, not ", r.batch_size);
  if (r.ids.empty()) bad_input("number of images: expected at least 1");
  if (c.out_channels != c.in_channels && c.out_channels != 2 * c.in_channels)
    bad_input("a model with ", c.in_channels, " channels in and ", c.out_channels,
              " out cannot be sampled from");
  if (c.time_embedding_type == "fourier" &&
      std::any_of(plan.steps.begin(), plan.steps.end(), [](const PlannedStep& s) { return s.time <= 0; }))
    bad_input(
        "time_embedding_type \"fourier\" takes the logarithm of the time and divides by it: it cannot be "
        "sampled "
        "by a scheduler whose times are not all more than 0");
  check_guidance(c, r);
  check_plan(c, plan, r);
}

void check_images(const Tensor& images, const Shape& all, const char* what) {
  if (images && images.shape() != all)
    bad_input(what, ": expected ", all, " (images, height, width, channels), not ", images.shape());
}

}  // namespace

Tensor sample(UNet& model, const SamplingPlan& plan, const SampleRequest& request) {
  const NoGrad no_grad;
  check_request(model, plan, request);
  const auto [height, width] = image_size(model, request);
  const auto n = static_cast<int64_t>(request.ids.size());
  const Shape all{n, height, width, model.config().in_channels};
  check_images(request.initial_noise, all, "initial noise");
  check_images(request.initial_image, all, "initial image");
  check_images(request.inpainting.known, all, "image to inpaint");
  check_images(request.inpainting.mask, all, "mask");
  const DType exact = request.activations == DType::kFloat64 ? DType::kFloat64 : DType::kFloat32;
  const Tensor result = empty(all, exact, request.device);  // [N,H,W,C]
  const int64_t batches = (n + request.batch_size - 1) / request.batch_size;
  int64_t done = 0;
  const SamplingMemory memory(request.device);
  for (int64_t first = 0; first < n; first += request.batch_size) {
    const int64_t count = std::min<int64_t>(request.batch_size, n - first);
    SampledBatch batch(model, plan, request, memory, result, first, count);
    const int64_t total = batches * batch.evaluations();
    batch.run([&] {
      if (request.progress) request.progress(++done, total);
    });
  }
  return result;
}

}  // namespace imago
