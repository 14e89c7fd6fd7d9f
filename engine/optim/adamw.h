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

  /// The norm of parameters.gradients() as they are now, for step(): call it only to look at the norm first.
  void measure_gradients();
  /// One update from parameters.gradients(), which it leaves as they are. A norm that is not finite would spread
  /// NaN to every parameter; the caller looks at the losses and the norm before (or later, and starts again).
  void step(double learning_rate);

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
  bool measured_ = false;  // norm_ belongs to the gradients that step() will take
  Tensor m_, v_, ema_, norm_, step_;
};

}  // namespace imago
