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
#include "models/trainer/step_inputs.h"
#include "models/trainer/train_config.h"

namespace imago {

/// A loss or gradient that is infinite or NaN: where it came from, in one line. Nothing was saved from it.
struct NonFiniteError : Error {
  explicit NonFiniteError(const std::string& message) : Error(Fault::kFailure, message) {}
};

/// Owns the model, its optimizer and the way through the data. A step is a function of (config, data, step
/// number, state of weights and moments): all randomness hangs on the seed and the global number of a sample.
/// So a run that goes on from a checkpoint ends in the same bits as one that was never interrupted.
///
/// On a device that has graphs, the third step is recorded and all later ones are launches of that
/// graph: the device never waits for the host, which uploads the next step's inputs meanwhile and looks
/// at losses as they arrive.
class Trainer {
 public:
  /// Bad input where config and data do not fit together (sizes, channels, class labels).
  Trainer(const TrainConfig& config, std::shared_ptr<const Dataset> data);

  /// One update. Returns the rows of the steps whose losses are known by now: on a CPU that of this step,
  /// elsewhere those of one or several before it, or none. Throws NonFiniteError.
  std::vector<MetricsRow> step();
  /// Waits for the device: the rows that step() still owes.
  std::vector<MetricsRow> flush();

  int64_t steps_done() const { return optimizer_->steps(); }
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
  UNet& model() { return *model_; }
  FlatParameters& parameters() { return *parameters_; }
  const FlatParameters& parameters() const { return *parameters_; }
  AdamW& optimizer() { return *optimizer_; }
  const AdamW& optimizer() const { return *optimizer_; }
  /// What to sample from and to publish: the EMA where there is one, else the weights.
  const Tensor& result() const { return optimizer_->ema() ? optimizer_->ema() : parameters_->values(); }

 private:
  /// A step that has been enqueued and whose losses have not been looked at.
  struct Pending {
    MetricsRow row;
    std::vector<int> timesteps;         // of its images, in order
    std::unique_ptr<Download> results;  // [images_per_step + 1] float32: their losses, the gradient's norm
  };

  void initialize();
  void check_model() const;
  void seek(int64_t step);
  MetricsRow begin_row(int64_t step) const;
  void load_inputs(int64_t step);
  void compute_gradients();
  std::vector<MetricsRow> look(size_t left_in_flight);
  void pass_time();
  bool finish_row(Pending& pending) const;
  [[noreturn]] void explain_non_finite(int64_t step);

  TrainConfig config_;
  std::shared_ptr<const Dataset> data_;
  std::unique_ptr<UNet> model_;
  std::unique_ptr<FlatParameters> parameters_;
  std::unique_ptr<AdamW> optimizer_;
  std::unique_ptr<TrainingLoss> loss_;
  LearningRate learning_rate_;
  StepInputs inputs_;
  std::unique_ptr<BatchLoader> loader_;  // writes into inputs_
  Tensor dloss_;                         // [batch_size] float32
  Tensor results_;                       // [images_per_step + 1] float32, of the step on the device
  MemoryPool step_memory_;               // of a recorded step's temporary tensors
  CapturedGraph recorded_step_;
  std::deque<Pending> pending_;
  double clock_ = 0, busy_ = 0;  // when it was last read, and what is to be shared among rows (seconds)
  std::filesystem::path
      last_checkpoint_;  // from which a failure can be computed again; empty: from the start
};

}  // namespace imago
