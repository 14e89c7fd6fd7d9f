// Training a U-Net to remove noise, one update at a time.
#pragma once

#include <deque>
#include <filesystem>
#include <memory>
#include <string>
#include <vector>

#include "engine/data/loader.h"
#include "engine/optim/lr_schedule.h"
#include "engine/tensor/captured_graph.h"
#include "models/report/metrics.h"
#include "models/trainer/non_finite.h"
#include "models/trainer/step_clock.h"
#include "models/trainer/training_step.h"

namespace imago {

/// A training run: the training step, and around it the way through the data, the learning rate, the rows of
/// metrics and the checkpoints. A step is a function of (config, data, step number, state of weights and
/// moments): all randomness hangs on the seed and the global number of a sample. So a run that goes on from a
/// checkpoint ends in the same bits as one that was never interrupted.
///
/// On a device that has graphs, the third step is captured and all later ones are launches of that graph: the
/// device never waits for the host, which uploads the next step's inputs meanwhile and reads losses as they
/// arrive.
class Trainer {
 public:
  /// Bad input where config and data do not fit together (sizes, channels, class labels).
  Trainer(const TrainConfig& config, std::shared_ptr<const Dataset> data);

  /// One update. Returns the rows of the steps whose losses are known by now: on a CPU that of this step,
  /// elsewhere those of one or several before it, or none. Throws NonFiniteError.
  std::vector<MetricsRow> step();
  /// Waits for the device: the rows that step() still owes.
  std::vector<MetricsRow> flush();

  int64_t steps_done() const { return step_.optimizer().steps(); }
  bool finished() const { return steps_done() >= config_.max_train_steps; }
  /// How often the data has been gone through when `step` updates are done.
  int64_t epochs_after(int64_t step) const;

  /// Writes everything needed to go on into `folder`, completely or not at all (see
  /// models/trainer/checkpoint.h). Call flush() before.
  void save_checkpoint(const std::filesystem::path& folder);
  /// Goes on from a checkpoint. One of another model is bad input. Returns one warning for each setting that
  /// the interrupted run had different.
  std::vector<std::string> load_checkpoint(const std::filesystem::path& folder);

  const TrainConfig& config() const { return config_; }
  const Dataset& data() const { return *data_; }
  UNet& model() { return step_.model(); }
  FlatParameters& parameters() { return step_.parameters(); }
  const FlatParameters& parameters() const { return step_.parameters(); }
  AdamW& optimizer() { return step_.optimizer(); }
  const AdamW& optimizer() const { return step_.optimizer(); }
  /// What to sample from and to publish: the EMA where there is one, else the weights.
  const Tensor& result() const { return optimizer().ema() ? optimizer().ema() : parameters().values(); }

 private:
  /// A step that has been enqueued and whose losses have not been read.
  struct Pending {
    MetricsRow row;
    std::vector<int> quarters;          // of its images, in order: SampleNumbers::quarter
    std::unique_ptr<Download> results;  // [images_per_step + 1] float32: their losses, the gradient's norm
  };

  void initialize();
  void seek(int64_t step);
  MetricsRow begin_row(int64_t step) const;
  void begin_step();
  std::vector<MetricsRow> collect_rows(size_t left_in_flight);
  [[noreturn]] void compute_again_and_explain(int64_t number);

  TrainConfig config_;
  std::shared_ptr<const Dataset> data_;
  LearningRate learning_rate_;
  TrainingStep step_;
  BatchLoader loader_;
  MemoryPool step_memory_;  // of a captured step's temporary tensors
  CapturedGraph captured_step_;
  std::deque<Pending> pending_;
  StepClock clock_;
  std::filesystem::path last_checkpoint_;  // to compute a failure again from; empty: from the start
};

}  // namespace imago
