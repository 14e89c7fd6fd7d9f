#include "models/trainer/training_step.h"

#include "engine/autograd/tape.h"
#include "engine/nn/dropout.h"
#include "models/weights.h"

namespace imago {

TrainingStep::TrainingStep(const TrainConfig& config, size_t host_blocks)
    : config_(config),
      model_(config.unet),
      parameters_(model_, {config.device, DType::kFloat32, config.compute, true}),
      optimizer_(parameters_, config.optimizer),
      objective_(config.scheduler, {config.seed, config.compute, config.weighting, config.snr_gamma,
                                    config.levels, config.class_dropout}),
      inputs_(config, host_blocks),
      results_(zeros({config.images_per_step() + 1}, DType::kFloat32, config.device)) {
  objective_.check_model(config.unet);
  objective_.check_output(config.unet);
  model_.set_gradient_checkpointing(config.gradient_checkpointing);
  const float share = 1 / static_cast<float>(config.images_per_step());
  dloss_ = from_vector(std::vector<float>(static_cast<size_t>(config.batch_size), share), {config.batch_size},
                       config.device);  // [N]
}

void TrainingStep::initialize() {
  if (config_.initial_weights.empty()) {
    parameters_.initialize(config_.seed);
  } else {
    load_weights(config_.initial_weights, parameters_, parameters_.values());
    parameters_.refresh_compute();
  }
  fill(optimizer_.first_moment(), 0);
  fill(optimizer_.second_moment(), 0);
  optimizer_.start_ema();
}

void TrainingStep::begin(double learning_rate) {
  inputs_.set_update(optimizer_.begin_step(learning_rate));
  inputs_.upload();
}

void TrainingStep::compute_gradients() {
  parameters_.zero_gradients();
  finished(Phase::kZeroed);
  for (int i = 0; i < config_.gradient_accumulation_steps; ++i) {
    report_pieces(i + 1 == config_.gradient_accumulation_steps);
    const Tensor losses = add_gradients(i);  // [N]
    copy(losses, results_.slice(i * config_.batch_size, {config_.batch_size}));
  }
  // Here all gradients are complete: a reduction over several devices ends before their norm is taken.
  optimizer_.measure_gradients();
  copy(optimizer_.grad_norm_on_device(), results_.slice(config_.images_per_step(), {1}));
}

Tensor TrainingStep::add_gradients(int i) {
  const MicroBatch& batch = inputs_.micro_batch(i);
  const DropoutScope training(config_.seed, batch.ids);
  Tensor losses;  // [N]
  {               // what the tape does not keep is freed before backward
    const auto [xt, target] = objective_.noised(batch);                                 // [N,H,W,C] each
    const Tensor prediction = model_.forward(xt, batch.timesteps, batch.class_labels);  // [N,H,W,C]
    losses = objective_.loss(prediction, target, batch);                                // [N]
  }
  finished(Phase::kForward);
  backward(losses, dloss_);
  finished(Phase::kBackward);
  return losses;
}

void TrainingStep::update() {
  optimizer_.update(inputs_.update());
  finished(Phase::kUpdated);
}

/// From the next forward pass on.
void TrainingStep::report_pieces(bool on) {
  if (on && on_piece_complete_)
    model_.on_gradients_complete([this](const std::string& child) { report_piece_of(child); });
  else
    model_.on_gradients_complete({});
}

/// A child of the model has its parameters side by side in the flat buffer, up to where the next begins.
void TrainingStep::report_piece_of(const std::string& child) const {
  int64_t begin = -1, end = parameters_.trainable();
  for (const FlatParameters::Entry& e : parameters_.entries()) {
    if (!e.parameter->trainable) break;  // they lie behind the others
    const bool inside = e.name.starts_with(child + ".");
    if (inside && begin < 0) begin = e.offset;
    if (inside || begin < 0) continue;
    end = e.offset;
    break;
  }
  if (begin >= 0) on_piece_complete_(begin, end - begin);
}

}  // namespace imago
