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

  /// One update from parameters.gradients(), which it leaves as they are. With clipping off by a norm that is
  /// not finite the update would spread NaN; the caller looks at the loss first.
  void step(double learning_rate);

  /// The gradient's norm before clipping, of the last step. Waits for the device.
  double grad_norm() const;

  int64_t steps() const { return steps_; }
  void set_steps(int64_t steps) { steps_ = steps; }   // on resume
  const Tensor& first_moment() const { return m_; }   // [padded], of the layout of `parameters`
  const Tensor& second_moment() const { return v_; }  // [padded]
  const Tensor& ema() const { return ema_; }          // [padded], undefined without EMA
  /// The EMA starts as a copy of the values: call once after they were initialized or loaded.
  void start_ema();

 private:
  FlatParameters& parameters_;
  Options options_;
  int64_t steps_ = 0;
  Tensor m_, v_, ema_, norm_, step_;
};

}  // namespace imago
