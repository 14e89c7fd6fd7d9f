#include "models/trainer/trainer.h"

#include <chrono>
#include <cmath>
#include <utility>

#include "models/trainer/checkpoint.h"
#include "models/unet/weights.h"

namespace imago {

namespace {

constexpr int kStepsInFlight = 16;  // where looking means waiting for a device

double now() {
  return std::chrono::duration<double>(std::chrono::steady_clock::now().time_since_epoch()).count();
}

void check_channels(const UNetConfig& unet) {
  if (unet.in_channels != 1 && unet.in_channels != 3)
    bad_input("in_channels is ", unet.in_channels, ": images have 1 channel (grey) or 3 (colour)");
  if (unet.out_channels != unet.in_channels)
    bad_input("out_channels is ", unet.out_channels, " and in_channels ", unet.in_channels,
              ": a model that predicts noise gives out what it takes in");
}

int steps_in_flight(const TrainConfig& config) {
  if (config.steps_in_flight > 0) return config.steps_in_flight;
  return config.device == Device::kCpu || config.device == Device::kReference ? 1 : kStepsInFlight;
}

TrainConfig validated(TrainConfig config) {
  check_channels(config.unet);
  config.unet.check_resolution(config.height, config.width, "--resolution");
  config.steps_in_flight = steps_in_flight(config);
  return config;
}

LoaderOptions loader_options(const TrainConfig& c) {
  LoaderOptions o;
  o.batch_size = c.batch_size;
  o.height = static_cast<int>(c.height);
  o.width = static_cast<int>(c.width);
  o.channels = c.unet.in_channels;
  o.center_crop = c.center_crop;
  o.random_flip = c.random_flip;
  o.num_workers = c.loader_workers;
  o.seed = c.seed;
  return o;
}

/// Of how many steps the inputs lie on the host: of one that is uploaded, and of those being prepared.
size_t steps_on_host(const TrainConfig& c) {
  const int64_t per_step = c.gradient_accumulation_steps;
  return static_cast<size_t>(1 + (loader_options(c).batches_ahead() + per_step - 1) / per_step);
}

}  // namespace

Trainer::Trainer(const TrainConfig& config, std::shared_ptr<const Dataset> data)
    : config_(validated(config)),
      data_(std::move(data)),
      learning_rate_(config.lr_scheduler, config.learning_rate, config.lr_warmup_steps,
                     config.max_train_steps),
      inputs_(config_, steps_on_host(config_)),
      step_memory_(config_.device),
      recorded_step_(config_.device, step_memory_) {
  check_model();
  model_ = std::make_unique<UNet>(config_.unet);
  model_->set_gradient_checkpointing(config_.gradient_checkpointing);
  parameters_ = std::make_unique<FlatParameters>(
      *model_, FlatParameters::Options{config_.device, DType::kFloat32, config_.compute, true});
  optimizer_ = std::make_unique<AdamW>(*parameters_, config_.optimizer);
  loss_ = std::make_unique<TrainingLoss>(
      config_.scheduler,
      TrainingLoss::Options{config_.seed, config_.compute, config_.weighting, config_.snr_gamma});
  loader_ = std::make_unique<BatchLoader>(data_, loader_options(config_), inputs_.ring(),
                                          config_.gradient_accumulation_steps);
  const float share = 1 / static_cast<float>(config_.images_per_step());
  dloss_ = from_vector(std::vector<float>(static_cast<size_t>(config_.batch_size), share),
                       {config_.batch_size}, config_.device);
  results_ = zeros({config_.images_per_step() + 1}, DType::kFloat32, config_.device);
  initialize();
}

/// The state before the first step.
void Trainer::initialize() {
  if (config_.initial_weights.empty()) {
    parameters_->initialize(config_.seed);
  } else {
    load_weights(config_.initial_weights, *parameters_, parameters_->values());
    parameters_->refresh_compute();
  }
  Backend& backend = backend_of(config_.device);
  backend.fill(optimizer_->first_moment(), 0);
  backend.fill(optimizer_->second_moment(), 0);
  optimizer_->start_ema();
  seek(0);
}

/// That the model's tables have rows for the times and the classes that it will see.
void Trainer::check_model() const {
  const UNetConfig& u = config_.unet;
  if (u.time_embedding_type == "learned" &&
      *u.num_train_timesteps < config_.scheduler.noise.num_train_timesteps)
    bad_input("num_train_timesteps of the model is ", *u.num_train_timesteps,
              ": its time embedding has too few rows "
              "for a noise schedule of ",
              config_.scheduler.noise.num_train_timesteps, " steps");
  if (!u.takes_class_labels()) return;
  const auto classes = static_cast<int64_t>(data_->class_names().size());
  if (u.class_embed_type == "identity")
    bad_input("class_embed_type identity: it takes vectors as labels, which no data set here has");
  if (classes == 0) bad_input("the model takes class labels, and the data has none: ", data_->description());
  if (!u.class_embed_type && classes > *u.num_class_embeds)
    bad_input("num_class_embeds is ", *u.num_class_embeds, ", and the data has ", classes, " classes");
}

/// The next batch is the first of the step after `step` updates.
void Trainer::seek(int64_t step) {
  optimizer_->set_steps(step);
  loader_->seek(0, step * config_.gradient_accumulation_steps);
}

int64_t Trainer::epochs_after(int64_t step) const {
  return step * config_.gradient_accumulation_steps / loader_->batches_per_epoch();
}

/// What is known of a step before it is computed.
MetricsRow Trainer::begin_row(int64_t step) const {
  MetricsRow row;
  row.step = step + 1;
  row.epoch = epochs_after(step);
  row.images = (step + 1) * config_.images_per_step();
  row.learning_rate = learning_rate_.at(step);
  if (config_.optimizer.ema) row.ema_decay = config_.optimizer.ema->decay(step + 1);
  return row;
}

/// The images and numbers of the step after `step` updates, on the device.
void Trainer::load_inputs(int64_t step) {
  for (int i = 0; i < config_.gradient_accumulation_steps; ++i)
    inputs_.set_micro_batch(i, loader_->next(), *loss_);
  inputs_.set_update(optimizer_->begin_step(learning_rate_.at(step)));
  inputs_.upload();
}

/// From inputs_ to gradients and results_.
void Trainer::compute_gradients() {
  Backend& backend = backend_of(config_.device);
  parameters_->zero_gradients();
  for (int i = 0; i < config_.gradient_accumulation_steps; ++i) {
    const Tensor losses =
        run_micro_batch(*model_, *loss_, inputs_.micro_batch(i), dloss_, config_.seed);  // [N]
    backend.copy(losses, results_.slice(i * config_.batch_size, {config_.batch_size}));
  }
  optimizer_->measure_gradients();
  backend.copy(optimizer_->grad_norm_on_device(), results_.slice(config_.images_per_step(), {1}));
}

std::vector<MetricsRow> Trainer::step() {
  clock_ = now();
  const int64_t step = steps_done();
  const auto remember = [&] {
    pending_.push_back({begin_row(step), inputs_.timesteps(),
                        backend_of(config_.device).download_later(results_.data(), results_.ref().bytes())});
  };
  load_inputs(step);
  std::vector<MetricsRow> rows;
  if (config_.steps_in_flight == 1) {
    compute_gradients();
    remember();
    rows = look(0);  // before the update can spread what is not finite
    optimizer_->update(inputs_.update());
  } else {
    recorded_step_.run([this] {
      compute_gradients();
      optimizer_->update(inputs_.update());
    });
    remember();
    rows = look(static_cast<size_t>(config_.steps_in_flight) - 1);
  }
  pass_time();
  return rows;
}

std::vector<MetricsRow> Trainer::flush() {
  clock_ = now();
  return look(0);
}

/// The rows of steps whose results have arrived; waits until no more than so many are missing.
std::vector<MetricsRow> Trainer::look(size_t left_in_flight) {
  std::vector<Pending> done;
  while (!pending_.empty() && (pending_.size() > left_in_flight || pending_.front().results->arrived())) {
    pending_.front().results->wait();
    done.push_back(std::move(pending_.front()));
    pending_.pop_front();
  }
  if (done.empty()) return {};
  pass_time();
  const double seconds = std::exchange(busy_, 0) / static_cast<double>(done.size());
  std::vector<MetricsRow> rows;
  for (Pending& p : done) {
    if (!finish_row(p)) {
      pending_.clear();
      explain_non_finite(p.row.step - 1);
    }
    p.row.seconds = seconds;
    p.row.images_per_second = static_cast<double>(config_.images_per_step()) / seconds;
    rows.push_back(p.row);
  }
  return rows;
}

/// Adds to busy_ what has gone by since the clock was last read: only the time of steps, not what lies
/// between them.
void Trainer::pass_time() {
  const double time = now();
  busy_ += time - std::exchange(clock_, time);
}

/// Fills in what the device computed; false where a number is not finite.
bool Trainer::finish_row(Pending& p) const {
  const auto* losses = static_cast<const float*>(p.results->wait());
  const float grad_norm = losses[p.timesteps.size()];
  const int timesteps = loss_->schedule().timesteps();
  std::array<double, 4> sums{};
  std::array<int, 4> counts{};
  double sum = 0;
  for (size_t i = 0; i < p.timesteps.size(); ++i) {
    const auto quartile = static_cast<size_t>(int64_t{p.timesteps[i]} * 4 / timesteps);
    sum += losses[i];
    sums[quartile] += losses[i];
    counts[quartile] += 1;
  }
  p.row.loss = static_cast<float>(sum / static_cast<double>(p.timesteps.size()));
  for (size_t q = 0; q < 4; ++q) {
    if (counts[q] > 0) p.row.loss_by_quartile[q] = static_cast<float>(sums[q] / counts[q]);
  }
  p.row.grad_norm = grad_norm;
  return std::isfinite(sum) && std::isfinite(grad_norm);
}

/// The step after `step` updates gave a loss or gradient that is not finite: finds out where and throws.
/// Where updates have been made since, the run is computed again from the last checkpoint, looking at each
/// step, up to the same point.
void Trainer::explain_non_finite(int64_t step) {
  if (config_.steps_in_flight > 1) {
    config_.steps_in_flight = 1;
    if (last_checkpoint_.empty())
      initialize();
    else
      load_checkpoint(last_checkpoint_);
    while (steps_done() <= step) this->step();  // throws
    failure("step ", step + 1, ": the loss was not finite, but computed again it is");
  }
  NonFiniteValue found;  // inputs_ are still those of the step
  int i = 0;
  while (i < config_.gradient_accumulation_steps &&
         !find_non_finite(*model_, *parameters_, *loss_, inputs_.micro_batch(i), dloss_, config_.seed, found))
    ++i;
  const std::string what = str("step ", step + 1, ": the loss or its gradient is not finite");
  // Each pass alone may be finite, and their sum not.
  if (i == config_.gradient_accumulation_steps)
    throw NonFiniteError(what + "; the gradients of its batches overflow when they are added");
  const std::string where =
      str(what, "; the first such value came out of ", found.op, " in layer ", found.layer);
  if (found.image < 0) throw NonFiniteError(where);
  const int timestep = inputs_.timesteps()[static_cast<size_t>(i * config_.batch_size + found.image)];
  throw NonFiniteError(str(where, ", at timestep ", timestep, " (image ", found.image, " of the batch)"));
}

void Trainer::save_checkpoint(const std::filesystem::path& folder) {
  check(pending_.empty(), "save_checkpoint: flush() first");
  write_checkpoint(folder, *this);
  last_checkpoint_ = folder;
}

std::vector<std::string> Trainer::load_checkpoint(const std::filesystem::path& folder) {
  CheckpointRead read = read_checkpoint(folder, *this);
  pending_.clear();
  busy_ = 0;
  seek(read.step);
  last_checkpoint_ = folder;
  return read.warnings;
}

}  // namespace imago
