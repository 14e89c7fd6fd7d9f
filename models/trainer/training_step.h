// The training step: what trainer, plan, benchmarks and the cost model run.
#pragma once

#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "engine/nn/flat_parameters.h"
#include "engine/optim/adamw.h"
#include "models/diffusion/objective.h"
#include "models/trainer/step_inputs.h"
#include "models/trainer/train_config.h"
#include "models/unet/unet.h"

namespace imago {

/// A model in training on one device, and one update of it: begin(), compute_gradients(), update(). What the
/// two compute is a function of (inputs, weights, moments) alone and nothing but operations of the device on
/// tensors that stay in place: they can be captured as a CUDA graph, and run on the plan device, which only
/// counts.
class TrainingStep {
 public:
  /// host_blocks: for how many steps the host has room for inputs (see StepInputs). Bad input for a model
  /// that the objective cannot train.
  explicit TrainingStep(const TrainConfig& config, size_t host_blocks = 1);
  TrainingStep(const TrainingStep&) = delete;
  TrainingStep& operator=(const TrainingStep&) = delete;

  /// The state before the first step: weights from config.initial_weights or from random numbers, moments
  /// zero, and the EMA a copy of the weights.
  void initialize();

  // ---- One update ----

  /// Micro-batch i is this one, of inputs().ring().
  void set_micro_batch(int i, const Batch& batch) { inputs_.set_micro_batch(i, batch, objective_); }
  /// Counts the step and enqueues the copy of its inputs to the device.
  void begin(double learning_rate);
  /// The gradient of the mean loss, into parameters().gradients(), and results().
  void compute_gradients();
  /// Clipping, AdamW, EMA.
  void update();

  /// Micro-batch i forward and back: adds its gradients to those there are and returns its losses [N].
  Tensor add_gradients(int i);

  // ---- For those who watch ----

  enum class Phase { kZeroed, kForward, kBackward, kUpdated };
  /// `f` is told where one part of a step ends and the next begins: kZeroed, then kForward and kBackward of
  /// each micro-batch, then kUpdated.
  void on_phase_end(std::function<void(Phase)> f) { on_phase_end_ = std::move(f); }

  /// `f` is told, while the last micro-batch goes back, which piece [offset, offset + size) of
  /// parameters().gradients() has got its final values: a reduction over several devices may start on it.
  /// Pieces come one behind the other as the network ends first, and together they are all that is trained.
  using PieceFunction = std::function<void(int64_t offset, int64_t size)>;
  void on_piece_complete(PieceFunction f) { on_piece_complete_ = std::move(f); }

  // ---- What it owns ----

  const TrainConfig& config() const { return config_; }
  UNet& model() { return model_; }
  FlatParameters& parameters() { return parameters_; }
  const FlatParameters& parameters() const { return parameters_; }
  AdamW& optimizer() { return optimizer_; }
  const AdamW& optimizer() const { return optimizer_; }
  const Objective& objective() const { return objective_; }
  StepInputs& inputs() { return inputs_; }
  /// [images_per_step + 1] float32: the losses of the images, and the gradient's norm before clipping.
  const Tensor& results() const { return results_; }

 private:
  void finished(Phase phase) const {
    if (on_phase_end_) on_phase_end_(phase);
  }
  void report_pieces(bool on);
  void report_piece_of(const std::string& child) const;

  TrainConfig config_;
  UNet model_;
  FlatParameters parameters_;
  AdamW optimizer_;
  Objective objective_;
  StepInputs inputs_;
  Tensor dloss_;    // [batch_size] float32: what a loss counts in the mean over the step's images
  Tensor results_;  // [images_per_step + 1] float32
  std::function<void(Phase)> on_phase_end_;
  PieceFunction on_piece_complete_;
};

}  // namespace imago
