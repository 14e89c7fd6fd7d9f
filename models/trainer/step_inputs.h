// What a training step reads and that is new in every step.
#pragma once

#include <vector>

#include "engine/data/loader.h"
#include "engine/tensor/packed_upload.h"
#include "models/trainer/train_config.h"

namespace imago {

/// The micro-batches of a step and the numbers of its update, at fixed places on the device and uploaded
/// together. The host has room for several steps' inputs, so that the loader's threads write the images of
/// later steps while one is being uploaded.
class StepInputs {
 public:
  StepInputs(const TrainConfig& config, size_t host_blocks);

  // ---- On the host ----

  /// Memory for the loader: the micro-batches of a step lie together, step behind step.
  std::vector<Batch> ring();
  /// Micro-batch i of the next upload is this one of the ring: adds what the objective draws for its samples.
  void set_micro_batch(int i, const Batch& batch, const Objective& objective);
  void set_update(const AdamWStep& update);
  void upload();
  /// SampleNumbers::time and quarter of the step's images, micro-batch after micro-batch.
  const std::vector<float>& times() const { return times_; }
  const std::vector<int>& quarters() const { return quarters_; }

  // ---- On the device ----

  const MicroBatch& micro_batch(int i) const { return micro_batches_[static_cast<size_t>(i)]; }
  const Tensor& update() const { return update_; }  // [sizeof(AdamWStep)] uint8

 private:
  enum Field { kImages, kIds, kTimesteps, kCoefficients, kWeights, kClassLabels, kBound, kFields };
  /// In packed_: field f of micro-batch i. The update lies behind them.
  static PackedUpload::Index place(int i, Field f) { return static_cast<size_t>(i * kFields + f); }
  PackedUpload::Index update_place() const { return place(static_cast<int>(micro_batches_.size()), kImages); }
  template <class T>
  void store(PackedUpload::Index place, DType type, std::span<const T> values);

  DType time_type_, label_type_;
  bool labelled_, learns_variance_;
  int null_class_;                  // what a sample is shown whose class is dropped
  size_t host_blocks_, block_ = 0;  // the block of the next upload
  PackedUpload packed_;
  std::vector<int32_t> labels_;  // of the ring, as the data has them: the model wants another type, or none
  std::vector<float> times_;
  std::vector<int> quarters_;
  std::vector<int> shown_labels_;  // of a micro-batch, as the model sees them
  std::vector<MicroBatch> micro_batches_;
  Tensor update_;
};

}  // namespace imago
