#include "models/diffusion/sampled_batch.h"

#include <algorithm>
#include <cmath>
#include <limits>

#include "engine/ops/elementwise.h"
#include "engine/ops/random.h"
#include "models/diffusion/ops.h"
#include "models/diffusion/thresholding.h"
#include "models/unet/inputs.h"

namespace imago {
namespace {

Shape with_images(Shape shape, int64_t images) {
  Shape other{images};
  for (int i = 1; i < shape.rank(); ++i) other.push_back(shape[i]);
  return other;
}

/// The first rows of a tensor.
Tensor head(const Tensor& x, int64_t rows) {
  return x.slice(0, with_images(x.shape(), rows));
}

}  // namespace

SampledBatch::SampledBatch(UNet& model, const SamplingPlan& plan, const SampleRequest& request,
                           const SamplingMemory& memory, const Tensor& result, int64_t first, int64_t count)
    : model_(model),
      plan_(plan),
      request_(request),
      first_(first),
      count_(count),
      plain_{CapturedGraph(request.device, memory.plain)},
      both_{CapturedGraph(request.device, memory.guided)} {
  const auto begin = request.ids.begin() + first;
  ids_ = from_vector(std::vector<int64_t>(begin, begin + count), {count}, request.device);  // [B]
  x_ = rows_of(result);                                                                     // [B,H,W,C]
  for (int i = 0; i < plan.evaluations(); ++i) ever_guided_ = ever_guided_ || guided(i);
  const int64_t asked = ever_guided_ ? 2 * count : count;
  input_ = empty(with_images(x_.shape(), asked), request.activations, request.device);  // [B | 2B,H,W,C]
  times_ = empty({asked}, timestep_type(model.config()), request.device);               // [B | 2B]
  if (request.class_labels) {
    labels_ = empty(with_images(request.class_labels.shape(), asked), request.class_labels.dtype(),
                    request.device);  // [B | 2B]
    copy(rows_of(request.class_labels), head(labels_, count));
    if (ever_guided_) fill(labels_.slice(count, {count}), *model.config().imago_null_class);
  }
  if (request.inpainting.known) {
    known_ = cast(rows_of(request.inpainting.known), x_.dtype());  // [B,H,W,C]
    mask_ = cast(rows_of(request.inpainting.mask), x_.dtype());    // [B,H,W,C]
  }
  for (int j = 0; j < plan.history; ++j) history_.push_back(empty_like(x_));  // [B,H,W,C]
}

int64_t SampledBatch::evaluations() const {
  const int visits = known_ ? request_.inpainting.resample : 1;
  return static_cast<int64_t>(plan_.evaluations() - 1) * visits + 1;
}

void SampledBatch::run(const std::function<void()>& evaluated) {
  start();
  watch(plan_.start);
  for (int i = 0; i < plan_.evaluations(); ++i) {
    const bool last = i + 1 == plan_.evaluations();
    const int visits = known_ && !last ? request_.inpainting.resample : 1;
    for (int visit = 0; visit < visits; ++visit) {
      if (visit > 0) go_back(i, visit);
      step(i, visit);
      evaluated();
    }
    if (plan_.steps[i].complete) watch(plan_.steps[i].after);
  }
}

// x = start_scale e, or signal x_0 + noise e.
void SampledBatch::start() {
  const Tensor e = request_.initial_noise
                       ? cast(rows_of(request_.initial_noise), x_.dtype())
                       : normal(x_.shape(), key(DiffusionPurpose::kSampleStart, 0), x_.dtype(), x_.device());
  Tensor x = e;  // [B,H,W,C]
  if (request_.initial_image) {
    const Tensor image = cast(rows_of(request_.initial_image), x_.dtype());  // [B,H,W,C]
    x = add(image, e, static_cast<float>(plan_.start.signal), static_cast<float>(plan_.start.noise));
  } else if (plan_.start_scale != 1) {
    x = scale(e, static_cast<float>(plan_.start_scale));
  }
  if (plan_.start_churn != 0) {
    const RandomKey fresh = key(DiffusionPurpose::kSampleNoise, plan_.evaluations());
    x = add(x, normal(x.shape(), fresh, x.dtype(), x.device()), 1, static_cast<float>(plan_.start_churn));
  }
  copy(x, x_);
  write_input(0);
}

void SampledBatch::step(int i, int visit) {
  const PlannedStep& planned = plan_.steps[i];
  const bool last = i + 1 == plan_.evaluations();
  const Tensor m = predict(i);  // [B | 2B,H,W,C | 2C]
  SamplerStep update = planned.update;
  SamplerTensors tensors;
  tensors.m = m;
  if (guided(i)) update.guidance = static_cast<float>(request_.guidance.scale);
  Tensor limit;  // [B]
  if (plan_.thresholding) limit = threshold_limits(x_, m, update, *plan_.thresholding);
  tensors.limit = limit.ref();
  const int kept = std::min(entries_, plan_.history);
  for (int j = 0; j < kept; ++j) tensors.history[j] = history_[(entries_ - 1 - j) % plan_.history];
  if (plan_.history > 0) tensors.entry = history_[entries_++ % plan_.history];
  if (known_) add_known(planned, tensors, update);
  if (!last) {
    tensors.input = guided(i + 1) ? input_ : head(input_, count_);
    update.input_scale = plan_.steps[i + 1].input_scale;
  }
  sampler_step(x_, tensors, update, key(DiffusionPurpose::kSampleNoise, i + visit * plan_.evaluations()));
}

// The known part at the level of y, with the update's own noise.
void SampledBatch::add_known(const PlannedStep& step, SamplerTensors& tensors, SamplerStep& update) const {
  tensors.known = known_;
  tensors.mask = mask_;
  update.known_signal = static_cast<float>(step.after.signal);
  update.known_noise = static_cast<float>(step.after.noise);
}

// From the level behind step i to the one before it: x = ratio x + sqrt(noise^2 - (ratio noise')^2) z.
void SampledBatch::go_back(int i, int visit) {
  const NoiseLevel to = level(i), from = plan_.steps[i].after;
  const double ratio = to.signal / from.signal;
  SamplerStep back{};
  back.y_x = static_cast<float>(ratio);
  back.sigma = static_cast<float>(std::sqrt(to.noise * to.noise - ratio * ratio * from.noise * from.noise));
  back.input_scale = plan_.steps[i].input_scale;
  SamplerTensors tensors;
  tensors.m = output_;  // not in the result
  tensors.input = guided(i) ? input_ : head(input_, count_);
  sampler_step(x_, tensors, back, key(DiffusionPurpose::kResample, i + visit * plan_.evaluations()));
}

bool SampledBatch::guided(int i) const {
  const Guidance& g = request_.guidance;
  const NoiseLevel at = level(i);
  const double sigma = at.signal > 0 ? at.noise / at.signal : std::numeric_limits<double>::infinity();
  return g.scale != 1 && sigma > g.low && sigma <= g.high;
}

NoiseLevel SampledBatch::level(int i) const {
  return i == 0 ? plan_.start : plan_.steps[i - 1].after;
}

// What the network sees of x at step i; later, the updates write it.
void SampledBatch::write_input(int i) {
  const float factor = plan_.steps[i].input_scale;
  const Tensor seen = factor == 1 ? x_ : scale(x_, factor);  // [B,H,W,C]
  copy(seen, head(input_, count_));
  if (ever_guided_) copy(seen, input_.slice(x_.numel(), x_.shape()));
}

Tensor SampledBatch::predict(int i) {
  upload_time(model_.config(), plan_.steps[i].time, times_);
  const int64_t asked = guided(i) ? 2 * count_ : count_;
  Network& network = guided(i) ? both_ : plain_;
  network.graph.run([&] {
    const Tensor labels = labels_ ? head(labels_, asked) : labels_;
    network.output = model_.forward(head(input_, asked), head(times_, asked), labels);
  });
  output_ = network.output;
  return output_;  // [B | 2B,H,W,C | 2C]
}

Tensor SampledBatch::rows_of(const Tensor& all) const {  // [N,...] -> [B,...]
  return all.slice(first_ * (all.numel() / all.dim(0)), with_images(all.shape(), count_));
}

RandomKey SampledBatch::key(DiffusionPurpose purpose, int index) const {
  return {request_.seed, random_stream(purpose, static_cast<uint32_t>(index)), ids_};
}

void SampledBatch::watch(const NoiseLevel& at) const {
  if (request_.watch) request_.watch(first_, x_, at);
}

}  // namespace imago
