#include "engine/optim/adamw.h"

#include <cmath>

#include "engine/tensor/allocator.h"

namespace imago {

AdamW::AdamW(FlatParameters& parameters, const Options& options)
    : parameters_(parameters),
      options_(options),
      m_(parameters.make_buffer()),
      v_(parameters.make_buffer()),
      norm_(zeros({1}, DType::kFloat32, parameters.options().device)),
      step_(empty({sizeof(AdamWStep)}, DType::kUInt8, parameters.options().device)) {
  if (options.ema) ema_ = parameters.make_buffer();
}

void AdamW::start_ema() {
  if (ema_) copy(parameters_.values(), ema_);
}

/// The part of a flat buffer that training changes.
Tensor AdamW::trainable(const Tensor& flat) const {
  return flat ? flat.slice(0, {parameters_.trainable()}) : flat;
}

void AdamW::step(double learning_rate) {
  const AdamWStep numbers = begin_step(learning_rate);
  upload(&numbers, step_);
  measure_gradients();
  update(step_);
}

AdamWStep AdamW::begin_step(double learning_rate) {
  ++steps_;
  AdamWStep s;
  s.learning_rate = static_cast<float>(learning_rate);
  s.beta1 = static_cast<float>(options_.beta1);
  s.beta2 = static_cast<float>(options_.beta2);
  s.epsilon = static_cast<float>(options_.epsilon);
  s.weight_decay = static_cast<float>(options_.weight_decay);
  s.correction1 = static_cast<float>(1 - std::pow(options_.beta1, static_cast<double>(steps_)));
  s.correction2 = static_cast<float>(1 - std::pow(options_.beta2, static_cast<double>(steps_)));
  s.max_grad_norm = static_cast<float>(options_.max_grad_norm);
  s.ema_decay = options_.ema ? static_cast<float>(options_.ema->decay(steps_)) : 0;
  return s;
}

void AdamW::measure_gradients() {
  ScratchSpace scratch(m_.device());
  backend_of(m_).norm(trainable(parameters_.gradients()), norm_, scratch);
}

void AdamW::update(const Tensor& step) {
  const bool copy = parameters_.options().compute == DType::kBFloat16;
  backend_of(m_).adamw(trainable(parameters_.gradients()), norm_, step, trainable(parameters_.values()),
                       trainable(m_), trainable(v_), trainable(ema_),
                       copy ? trainable(parameters_.compute()) : Tensor());
}

double AdamW::grad_norm() const {
  return to_vector<float>(norm_)[0];
}

}  // namespace imago
