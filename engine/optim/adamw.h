// AdamW with clipping and EMA, over a model's flat buffers: two launches a step, whatever the number of
// layers.
#pragma once

#include <optional>

#include "engine/nn/flat_parameters.h"
#include "engine/optim/ema.h"

namespace imago {

/// Decoupled weight decay (Loshchilov & Hutter 2019). The defaults are those of diffusers'
/// train_unconditional.py.
class AdamW {
 public:
  struct Options {
    double beta1 = 0.95, beta2 = 0.999, epsilon = 1e-8, weight_decay = 1e-6;
    double max_grad_norm = 1;        // clip the gradient's 2-norm to this; <= 0: do not
    std::optional<EmaSchedule> ema;  // none: no average is kept
  };

  AdamW(FlatParameters& parameters, const Options& options);

  /// One update from parameters.gradients(), which it leaves as they are: begin_step,
  /// measure_gradients, update.
  void step(double learning_rate);

  // The parts of it, for those who look at the norm before the update, or capture the last two as a
  // graph. A norm that is not finite would spread NaN to every parameter; the caller looks before (or
  // later, and starts again).
  /// Counts the step. Returns its numbers: the only part of an update that is not the same every time.
  AdamWStep begin_step(double learning_rate);
  void measure_gradients();
  /// `step`: begin_step's result as bytes, uint8 [sizeof(AdamWStep)] on the device.
  void update(const Tensor& step);

  /// The gradient's norm before clipping, as last measured. Waits for the device.
  double grad_norm() const;
  const Tensor& grad_norm_on_device() const { return norm_; }  // [1]

  int64_t steps() const { return steps_; }
  void set_steps(int64_t steps) { steps_ = steps; }   // on resume
  const Tensor& first_moment() const { return m_; }   // [padded], of the layout of `parameters`
  const Tensor& second_moment() const { return v_; }  // [padded]
  const Tensor& ema() const { return ema_; }          // [padded], undefined without EMA
  /// The EMA starts as a copy of the values: call once after they were initialized or loaded.
  void start_ema();

 private:
  Tensor trainable(const Tensor& flat) const;

  FlatParameters& parameters_;
  Options options_;
  int64_t steps_ = 0;
  Tensor m_, v_, ema_, norm_, step_;
};

}  // namespace imago
