// What a training step reads and that is new in every step.
#pragma once

#include <vector>

#include "engine/data/loader.h"
#include "engine/tensor/packed_upload.h"
#include "models/trainer/train_config.h"

namespace imago {

/// The micro-batches of a step and the numbers of its update, at fixed places on the
/// device and uploaded together.
class StepInputs {
 public:
  explicit StepInputs(const TrainConfig& config);

  /// On the host: micro-batch i, the update, and then all of it to the device.
  void set_batch(int i, const Batch& batch, const TrainingLoss& loss);
  void set_update(const AdamWStep& update);
  void upload() { packed_.upload(); }

  /// On the device.
  const TrainingBatch& batch(int i) const { return batches_[static_cast<size_t>(i)]; }
  const Tensor& update() const { return update_; }  // [sizeof(AdamWStep)] uint8

  /// The times of the step's images, micro-batch after micro-batch.
  const std::vector<int>& timesteps() const { return timesteps_; }

 private:
  struct Places {  // of a micro-batch, in packed_
    PackedUpload::Index images, ids, timesteps, coefficients, weights, class_labels;
  };
  Places add_batch(int64_t n, const TrainConfig& config);
  void store(PackedUpload::Index place, DType type, const std::vector<int>& values);

  DType time_type_, label_type_;
  bool labelled_;
  PackedUpload packed_;
  std::vector<Places> places_;
  PackedUpload::Index update_place_;
  std::vector<TrainingBatch> batches_;
  Tensor update_;
  std::vector<int> timesteps_;
};

}  // namespace imago
