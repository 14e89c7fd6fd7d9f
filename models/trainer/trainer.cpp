#include "models/trainer/trainer.h"

#include <chrono>
#include <cmath>
#include <utility>

#include "models/trainer/checkpoint.h"
#include "models/unet/weights.h"

namespace imago {

namespace {

constexpr int kStepsBetweenLooks = 16;  // where looking means waiting for a device

double now() {
  return std::chrono::duration<double>(std::chrono::steady_clock::now().time_since_epoch()).count();
}

int steps_between_looks(const TrainConfig& config) {
  if (config.steps_between_looks > 0) return config.steps_between_looks;
  return config.device == Device::kCpu || config.device == Device::kReference ? 1 : kStepsBetweenLooks;
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
  o.strict_data = c.strict_data;
  o.warn = c.warn;
  return o;
}

void check_channels(const UNetConfig& unet) {
  if (unet.in_channels != 1 && unet.in_channels != 3)
    bad_input("in_channels is ", unet.in_channels, ": pictures have 1 channel (grey) or 3 (colour)");
  if (unet.out_channels != unet.in_channels)
    bad_input("out_channels is ", unet.out_channels, " and in_channels ", unet.in_channels,
              ": a model that predicts noise gives out what it takes in");
}

}  // namespace

Trainer::Trainer(const TrainConfig& config, std::shared_ptr<const Dataset> data)
    : config_(config),
      data_(std::move(data)),
      learning_rate_(config.lr_scheduler, config.learning_rate, config.lr_warmup_steps,
                     config.max_train_steps) {
  check_channels(config_.unet);
  config_.unet.check_resolution(config_.height, config_.width, "--resolution");
  config_.steps_between_looks = imago::steps_between_looks(config_);
  check_labels();
  model_ = std::make_unique<UNet>(config_.unet);
  model_->set_gradient_checkpointing(config_.gradient_checkpointing);
  parameters_ = std::make_unique<FlatParameters>(
      *model_, FlatParameters::Options{config_.device, DType::kFloat32, config_.compute, true});
  optimizer_ = std::make_unique<AdamW>(*parameters_, config_.optimizer);
  loss_ = std::make_unique<TrainingLoss>(
      config_.scheduler,
      TrainingLoss::Options{config_.seed, config_.compute, config_.weighting, config_.snr_gamma});
  loader_ = std::make_unique<BatchLoader>(data_, loader_options(config_));
  const float share = 1 / static_cast<float>(config_.pictures_per_step());
  dloss_ = from_vector(std::vector<float>(static_cast<size_t>(config_.batch_size), share),
                       {config_.batch_size}, config_.device);
  losses_ =
      zeros({config_.steps_between_looks, config_.pictures_per_step()}, DType::kFloat32, config_.device);
  grad_norms_ = zeros({config_.steps_between_looks}, DType::kFloat32, config_.device);
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

void Trainer::check_labels() const {
  const UNetConfig& u = config_.unet;
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

MicroBatch Trainer::next_micro_batch() {
  const Batch& b = loader_->next();
  MicroBatch m;
  m.batch.pictures = from_host(b.pixels.data(), {b.size, b.height, b.width, b.channels}, DType::kUInt8,
                               config_.device);  // [N,H,W,C]
  m.batch.sample_ids = b.ids;
  m.ids = from_vector(b.ids, {b.size}, config_.device);  // [N]
  m.dloss = dloss_;                                      // [N]
  if (config_.unet.takes_class_labels())
    m.batch.class_labels = class_labels_tensor(config_.unet, b.labels, config_.device);
  return m;
}

int64_t Trainer::epochs_after(int64_t step) const {
  return step * config_.gradient_accumulation_steps / loader_->batches_per_epoch();
}

std::vector<MetricsRow> Trainer::step() {
  clock_ = now();
  const int64_t step = steps_done();
  const int accumulation = config_.gradient_accumulation_steps;
  const auto slot = static_cast<int64_t>(pending_.size());
  Pending p;
  p.row.step = step + 1;
  p.row.epoch = epochs_after(step);
  p.row.pictures = (step + 1) * config_.pictures_per_step();
  p.row.learning_rate = learning_rate_.at(step);
  if (config_.optimizer.ema) p.row.ema_decay = config_.optimizer.ema->decay(step + 1);

  Backend& backend = backend_of(config_.device);
  parameters_->zero_gradients();
  for (int i = 0; i < accumulation; ++i) {
    const TrainingLossResult result = run_micro_batch(*model_, *loss_, next_micro_batch(), config_.seed);
    const int64_t at = (slot * accumulation + i) * config_.batch_size;
    backend.copy(result.loss, losses_.slice(at, {config_.batch_size}));
    p.timesteps.insert(p.timesteps.end(), result.timesteps.begin(), result.timesteps.end());
  }
  optimizer_->measure_gradients();
  backend.copy(optimizer_->grad_norm_on_device(), grad_norms_.slice(slot, {1}));
  pending_.push_back(std::move(p));

  std::vector<MetricsRow> rows;
  if (config_.steps_between_looks == 1) rows = look();  // before the update can spread what is not finite
  optimizer_->step(learning_rate_.at(step));
  if (static_cast<int>(pending_.size()) == config_.steps_between_looks) rows = look();
  pass_time();
  return rows;
}

std::vector<MetricsRow> Trainer::flush() {
  clock_ = now();
  return look();
}

std::vector<MetricsRow> Trainer::look() {
  if (pending_.empty()) return {};
  const auto steps = static_cast<int64_t>(pending_.size());
  const auto losses = to_vector<float>(losses_.slice(0, {steps, config_.pictures_per_step()}));
  const auto grad_norms = to_vector<float>(grad_norms_.slice(0, {steps}));
  pass_time();
  const double seconds = std::exchange(busy_, 0) / static_cast<double>(steps);
  std::vector<MetricsRow> rows;
  std::vector<Pending> pending;
  pending.swap(pending_);
  for (size_t s = 0; s < pending.size(); ++s) {
    const float* of_step = losses.data() + s * static_cast<size_t>(config_.pictures_per_step());
    if (!finish_row(pending[s], of_step, grad_norms[s])) explain_non_finite(pending[s].row.step - 1);
    pending[s].row.seconds = seconds;
    pending[s].row.pictures_per_second = static_cast<double>(config_.pictures_per_step()) / seconds;
    rows.push_back(pending[s].row);
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
bool Trainer::finish_row(Pending& p, const float* losses, float grad_norm) const {
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
/// Where updates have been made since, the run is computed again from the last checkpoint, one look a step,
/// up to the same point.
void Trainer::explain_non_finite(int64_t step) {
  if (steps_done() != step) {
    config_.steps_between_looks = 1;
    if (last_checkpoint_.empty())
      initialize();
    else
      load_checkpoint(last_checkpoint_);
    while (steps_done() <= step) this->step();  // throws
    failure("step ", step + 1, ": the loss was not finite, but computed again it is");
  }
  NonFiniteValue found;
  bool any = false;
  seek(step);
  for (int i = 0; i < config_.gradient_accumulation_steps && !any; ++i)
    any = find_non_finite(*model_, *parameters_, *loss_, next_micro_batch(), config_.seed, found);
  const std::string what = str("step ", step + 1, ": the loss or its gradient is not finite");
  // Each pass alone may be finite, and their sum not.
  if (!any) throw NonFiniteError(what + "; the gradients of its batches overflow when they are added");
  const std::string where =
      str(what, "; the first such value came out of ", found.op, " in layer ", found.layer);
  if (found.timestep < 0) throw NonFiniteError(where);
  throw NonFiniteError(
      str(where, ", at timestep ", found.timestep, " (picture ", found.picture, " of the batch)"));
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
