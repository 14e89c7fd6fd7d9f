#include "models/trainer/step_inputs.h"

#include <algorithm>
#include <cstring>

#include "models/unet/inputs.h"

namespace imago {

namespace {

Shape label_shape(const UNetConfig& unet, int64_t n) {
  if (!unet.takes_class_labels()) return {0};
  return unet.class_embed_type == "identity" ? Shape{n, unet.time_width()} : Shape{n};
}

}  // namespace

StepInputs::StepInputs(const TrainConfig& c, size_t host_blocks)
    : time_type_(timestep_type(c.unet)),
      label_type_(class_label_type(c.unet)),
      labelled_(c.unet.takes_class_labels()),
      learns_variance_(c.unet.out_channels > c.unet.in_channels),
      null_class_(c.unet.imago_null_class.value_or(-1)),
      host_blocks_(host_blocks),
      labels_(host_blocks * static_cast<size_t>(c.images_per_step())),
      times_(static_cast<size_t>(c.images_per_step())),
      quarters_(static_cast<size_t>(c.images_per_step())),
      shown_labels_(static_cast<size_t>(c.batch_size)),
      micro_batches_(static_cast<size_t>(c.gradient_accumulation_steps)) {
  const int64_t n = c.batch_size;
  for (size_t i = 0; i < micro_batches_.size(); ++i) {  // in the order of Field
    packed_.add({n, c.height, c.width, c.unet.in_channels}, DType::kUInt8);
    packed_.add({n}, DType::kInt64);
    packed_.add({n}, time_type_);
    packed_.add({n, 4}, DType::kFloat32);
    packed_.add({n}, DType::kFloat32);
    packed_.add(label_shape(c.unet, n), label_type_);
    packed_.add({learns_variance_ ? n : 0, 4}, DType::kFloat32);
  }
  packed_.add({sizeof(AdamWStep)}, DType::kUInt8);
  packed_.allocate(c.device, host_blocks);
  for (int i = 0; i < c.gradient_accumulation_steps; ++i) {
    const auto tensor = [&](Field f) { return packed_.tensor(place(i, f)); };
    micro_batches_[static_cast<size_t>(i)] = {tensor(kImages),
                                              tensor(kIds),
                                              tensor(kTimesteps),
                                              tensor(kCoefficients),
                                              tensor(kWeights),
                                              labelled_ ? tensor(kClassLabels) : Tensor(),
                                              learns_variance_ ? tensor(kBound) : Tensor()};
  }
  update_ = packed_.tensor(update_place());
}

std::vector<Batch> StepInputs::ring() {
  const size_t per_step = micro_batches_.size(), slots = host_blocks_ * per_step, n = labels_.size() / slots;
  std::vector<Batch> ring;
  for (size_t slot = 0; slot < slots; ++slot) {
    const size_t block = slot / per_step;
    const int i = static_cast<int>(slot % per_step);
    ring.push_back({.images = packed_.host<uint8_t>(place(i, kImages), block),
                    .ids = packed_.host<int64_t>(place(i, kIds), block),
                    .labels = std::span(labels_).subspan(slot * n, n)});
  }
  return ring;
}

/// In the type that the model wants.
template <class T>
void StepInputs::store(PackedUpload::Index place, DType type, std::span<const T> values) {
  if (type == DType::kInt32)
    std::copy(values.begin(), values.end(), packed_.host<int32_t>(place, block_).begin());
  else
    std::copy(values.begin(), values.end(), packed_.host<float>(place, block_).begin());
}

void StepInputs::set_micro_batch(int i, const Batch& batch, const Objective& objective) {
  const size_t per_step = micro_batches_.size(), n = batch.ids.size();
  check(batch.slot % per_step == static_cast<size_t>(i), "micro-batch ", i, " of ", per_step, " from slot ",
        batch.slot);
  block_ = batch.slot / per_step;
  const size_t first = static_cast<size_t>(i) * n;
  const std::span coefficients = packed_.host<float>(place(i, kCoefficients), block_);
  const std::span weights = packed_.host<float>(place(i, kWeights), block_);
  const std::span bound = packed_.host<float>(place(i, kBound), block_);
  for (size_t k = 0; k < n; ++k) {
    const SampleNumbers numbers = objective.numbers_of(batch.ids[k]);
    times_[first + k] = numbers.time;
    quarters_[first + k] = numbers.quarter;
    std::copy(numbers.coefficients.begin(), numbers.coefficients.end(), &coefficients[4 * k]);
    weights[k] = numbers.weight;
    if (learns_variance_) std::copy(numbers.bound.begin(), numbers.bound.end(), &bound[4 * k]);
    shown_labels_[k] = numbers.class_dropped ? null_class_ : batch.labels[k];
  }
  store<float>(place(i, kTimesteps), time_type_, std::span(times_).subspan(first, n));
  if (labelled_) store<int>(place(i, kClassLabels), label_type_, shown_labels_);
}

void StepInputs::set_update(const AdamWStep& update) {
  std::memcpy(packed_.host<uint8_t>(update_place(), block_).data(), &update, sizeof update);
}

void StepInputs::upload() {
  packed_.upload(block_);
}

}  // namespace imago
