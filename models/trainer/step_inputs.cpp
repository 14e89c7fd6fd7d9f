#include "models/trainer/step_inputs.h"

#include <algorithm>
#include <cstring>

namespace imago {

namespace {

Shape label_shape(const UNetConfig& unet, int64_t n) {
  return unet.class_embed_type == "identity" ? Shape{n, unet.time_width()} : Shape{n};
}

}  // namespace

StepInputs::StepInputs(const TrainConfig& c)
    : time_type_(timestep_type(c.unet)),
      label_type_(class_label_type(c.unet)),
      labelled_(c.unet.takes_class_labels()) {
  for (int i = 0; i < c.gradient_accumulation_steps; ++i) places_.push_back(add_batch(c.batch_size, c));
  update_place_ = packed_.add({sizeof(AdamWStep)}, DType::kUInt8);
  packed_.allocate(c.device);
  for (const Places& p : places_)
    batches_.push_back({packed_.tensor(p.images), packed_.tensor(p.ids), packed_.tensor(p.timesteps),
                        packed_.tensor(p.coefficients), packed_.tensor(p.weights),
                        labelled_ ? packed_.tensor(p.class_labels) : Tensor()});
  update_ = packed_.tensor(update_place_);
  timesteps_.resize(static_cast<size_t>(c.images_per_step()));
}

StepInputs::Places StepInputs::add_batch(int64_t n, const TrainConfig& c) {
  Places p{};
  p.images = packed_.add({n, c.height, c.width, c.unet.in_channels}, DType::kUInt8);
  p.ids = packed_.add({n}, DType::kInt64);
  p.timesteps = packed_.add({n}, time_type_);
  p.coefficients = packed_.add({n, 4}, DType::kFloat32);
  p.weights = packed_.add({n}, DType::kFloat32);
  if (labelled_) p.class_labels = packed_.add(label_shape(c.unet, n), label_type_);
  return p;
}

/// Whole numbers, in the type that the model wants.
void StepInputs::store(PackedUpload::Index place, DType type, const std::vector<int>& values) {
  if (type == DType::kInt32)
    std::copy(values.begin(), values.end(), packed_.host<int32_t>(place));
  else
    std::copy(values.begin(), values.end(), packed_.host<float>(place));
}

void StepInputs::set_batch(int i, const Batch& batch, const TrainingLoss& loss) {
  const Places& p = places_[static_cast<size_t>(i)];
  const SampleNumbers numbers = loss.draw(batch.ids);
  std::copy(batch.pixels.begin(), batch.pixels.end(), packed_.host<uint8_t>(p.images));
  std::copy(numbers.ids.begin(), numbers.ids.end(), packed_.host<int64_t>(p.ids));
  std::copy(numbers.coefficients.begin(), numbers.coefficients.end(), packed_.host<float>(p.coefficients));
  std::copy(numbers.weights.begin(), numbers.weights.end(), packed_.host<float>(p.weights));
  store(p.timesteps, time_type_, numbers.timesteps);
  if (labelled_) store(p.class_labels, label_type_, batch.labels);
  std::copy(numbers.timesteps.begin(), numbers.timesteps.end(),
            timesteps_.begin() + static_cast<int64_t>(i) * batch.size);
}

void StepInputs::set_update(const AdamWStep& update) {
  std::memcpy(packed_.host<uint8_t>(update_place_), &update, sizeof update);
}

}  // namespace imago
