#include "models/trainer/trainer.h"

#include <array>
#include <cmath>
#include <utility>

#include "models/trainer/checkpoint.h"

namespace imago {

namespace {

constexpr int kStepsInFlight = 16;  // where reading a result means waiting for a device

void check_channels(const UNetConfig& unet) {
  if (unet.in_channels != 1 && unet.in_channels != 3)
    bad_input("in_channels is ", unet.in_channels, ": images have 1 channel (grey) or 3 (colour)");
}

/// That the model's tables have rows for the times and the classes that it will see.
void check_tables(const TrainConfig& config, const Dataset& data) {
  const UNetConfig& u = config.unet;
  if (config.class_dropout > 0 && !u.imago_null_class)
    bad_input("class dropout needs a model with a row for \"no class\" (imago_null_class)");
  if (u.time_embedding_type == "learned" &&
      *u.num_train_timesteps < config.scheduler.noise.num_train_timesteps)
    bad_input("num_train_timesteps of the model is ", *u.num_train_timesteps,
              ": its time embedding has too few rows for a noise schedule of ",
              config.scheduler.noise.num_train_timesteps, " steps");
  if (!u.takes_class_labels()) return;
  const auto classes = static_cast<int64_t>(data.class_names().size());
  if (u.class_embed_type == "identity")
    bad_input("class_embed_type identity: it takes vectors as labels, which no data set here has");
  if (classes == 0) bad_input("the model takes class labels, and the data has none: ", data.description());
  if (!u.class_embed_type && classes > *u.num_class_embeds)
    bad_input("num_class_embeds is ", *u.num_class_embeds, ", and the data has ", classes, " classes");
  if (u.imago_null_class && *u.imago_null_class < classes)
    bad_input("imago_null_class is ", *u.imago_null_class, ", which is a class of the data: \"",
              data.class_names()[static_cast<size_t>(*u.imago_null_class)], '"');
}

int steps_in_flight(const TrainConfig& config) {
  if (config.steps_in_flight > 0) return config.steps_in_flight;
  return config.device == Device::kCpu || config.device == Device::kReference ? 1 : kStepsInFlight;
}

TrainConfig validated(TrainConfig config, const Dataset& data) {
  check_channels(config.unet);
  config.unet.check_resolution(config.height, config.width, "the training resolution");
  check_tables(config, data);
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

/// Fills in what the device computed; false where a number is not finite. quarters: SampleNumbers::quarter of
/// each image.
bool fill_in(MetricsRow& row, const float* losses, float grad_norm, const std::vector<int>& quarters) {
  std::array<double, 4> sums{};
  std::array<int, 4> counts{};
  double sum = 0;
  for (size_t i = 0; i < quarters.size(); ++i) {
    const auto q = static_cast<size_t>(quarters[i]);
    sum += losses[i];
    sums[q] += losses[i];
    counts[q] += 1;
  }
  row.loss = static_cast<float>(sum / static_cast<double>(quarters.size()));
  for (size_t q = 0; q < 4; ++q) {
    if (counts[q] > 0) row.loss_by_quartile[q] = static_cast<float>(sums[q] / counts[q]);
  }
  row.grad_norm = grad_norm;
  return std::isfinite(sum) && std::isfinite(grad_norm);
}

}  // namespace

Trainer::Trainer(const TrainConfig& config, std::shared_ptr<const Dataset> data)
    : config_(validated(config, *data)),
      data_(std::move(data)),
      learning_rate_(config.lr_scheduler, config.learning_rate, config.lr_warmup_steps,
                     config.max_train_steps),
      step_(config_, steps_on_host(config_)),
      loader_(data_, loader_options(config_), step_.inputs().ring(), config_.gradient_accumulation_steps),
      step_memory_(config_.device),
      captured_step_(config_.device, step_memory_) {
  initialize();
}

/// The state before the first step.
void Trainer::initialize() {
  step_.initialize();
  seek(0);
}

/// The next batch is the first of the step after `step` updates.
void Trainer::seek(int64_t step) {
  optimizer().set_steps(step);
  loader_.seek(0, step * config_.gradient_accumulation_steps);
}

int64_t Trainer::epochs_after(int64_t step) const {
  return step * config_.gradient_accumulation_steps / loader_.batches_per_epoch();
}

/// What is known of the step after `step` updates before it is computed.
MetricsRow Trainer::begin_row(int64_t step) const {
  MetricsRow row;
  row.step = step + 1;
  row.epoch = epochs_after(step);
  row.images = (step + 1) * config_.images_per_step();
  row.learning_rate = learning_rate_.at(step);
  if (config_.optimizer.ema) row.ema_decay = config_.optimizer.ema->decay(step + 1);
  return row;
}

/// The inputs of the next step, on their way to the device.
void Trainer::begin_step() {
  const double learning_rate = learning_rate_.at(steps_done());
  for (int i = 0; i < config_.gradient_accumulation_steps; ++i) step_.set_micro_batch(i, loader_.next());
  step_.begin(learning_rate);
}

std::vector<MetricsRow> Trainer::step() {
  clock_.start();
  const MetricsRow row = begin_row(steps_done());
  const auto await_results = [&] {
    pending_.push_back({row, step_.inputs().quarters(), download_later(step_.results())});
  };
  begin_step();
  std::vector<MetricsRow> rows;
  if (config_.steps_in_flight == 1) {
    step_.compute_gradients();
    await_results();
    rows = collect_rows(0);  // before the update can spread what is not finite
    step_.update();
  } else {
    captured_step_.run([this] {
      step_.compute_gradients();
      step_.update();
    });
    await_results();
    rows = collect_rows(static_cast<size_t>(config_.steps_in_flight) - 1);
  }
  clock_.add();
  return rows;
}

std::vector<MetricsRow> Trainer::flush() {
  clock_.start();
  return collect_rows(0);
}

/// The rows of steps whose results have arrived; waits until no more than so many are missing.
std::vector<MetricsRow> Trainer::collect_rows(size_t left_in_flight) {
  std::vector<Pending> done;
  while (!pending_.empty() && (pending_.size() > left_in_flight || pending_.front().results->arrived())) {
    pending_.front().results->wait();
    done.push_back(std::move(pending_.front()));
    pending_.pop_front();
  }
  if (done.empty()) return {};
  clock_.add();
  const double seconds = clock_.take() / static_cast<double>(done.size());
  std::vector<MetricsRow> rows;
  for (Pending& p : done) {
    const auto* losses = static_cast<const float*>(p.results->wait());
    if (!fill_in(p.row, losses, losses[p.quarters.size()], p.quarters)) {
      pending_.clear();
      compute_again_and_explain(p.row.step);
    }
    p.row.seconds = seconds;
    p.row.images_per_second = static_cast<double>(config_.images_per_step()) / seconds;
    rows.push_back(p.row);
  }
  return rows;
}

/// Update `number` gave a loss or gradient that is not finite: finds out where and throws. Where updates have
/// been made since, the run is computed again from the last checkpoint up to the same point, with the results
/// of each step read before its update.
void Trainer::compute_again_and_explain(int64_t number) {
  if (config_.steps_in_flight > 1) {
    config_.steps_in_flight = 1;
    if (last_checkpoint_.empty())
      initialize();
    else
      load_checkpoint(last_checkpoint_);
    while (steps_done() < number) step();  // throws
    failure("step ", number, ": the loss was not finite, but computed again it is");
  }
  explain_non_finite(step_, number);
}

void Trainer::save_checkpoint(const std::filesystem::path& folder) {
  write_checkpoint(folder, *this);
  last_checkpoint_ = folder;
}

std::vector<std::string> Trainer::load_checkpoint(const std::filesystem::path& folder) {
  CheckpointRead read = read_checkpoint(folder, *this);
  pending_.clear();
  clock_.take();
  seek(read.step);
  last_checkpoint_ = folder;
  return read.warnings;
}

}  // namespace imago
