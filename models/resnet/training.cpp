#include "models/resnet/training.h"

#include <chrono>
#include <cmath>
#include <numeric>
#include <utility>

#include "engine/autograd/tape.h"
#include "engine/ops/loss.h"
#include "models/pixels.h"

namespace imago {

namespace {

ClassifierTrainConfig validated(const ClassifierTrainConfig& config, const Dataset& data) {
  config.model.validate("ResNet");
  if (data.class_names() != config.model.class_names)
    bad_input(data.description(), ": its classes are not those of the model");
  for (int64_t i = 0; i < data.size(); ++i)
    if (data.label(i) < 0 || data.label(i) >= config.model.classes())
      bad_input(data.name(i), ": has the class ", data.label(i), "; expected 0 to ",
                config.model.classes() - 1);
  return config;
}

LoaderOptions loader_options(const ClassifierTrainConfig& c) {
  LoaderOptions o;
  o.batch_size = c.batch_size;
  o.height = o.width = c.model.sample_size;
  o.channels = c.model.in_channels;
  o.random_flip = c.random_flip;
  o.num_workers = c.loader_workers;
  o.seed = c.seed;
  return o;
}

/// Batches in memory: the one in use and those being prepared.
size_t slots(const ClassifierTrainConfig& c) {
  return static_cast<size_t>(1 + loader_options(c).batches_ahead());
}

std::vector<Batch> ring_in(const ClassifierTrainConfig& c, std::span<uint8_t> pixels, std::span<int64_t> ids,
                           std::span<int32_t> labels) {
  const auto n = static_cast<size_t>(c.batch_size), bytes = n * loader_options(c).image_bytes();
  std::vector<Batch> ring;
  for (size_t i = 0; i < slots(c); ++i)
    ring.push_back({.images = pixels.subspan(i * bytes, bytes),
                    .ids = ids.subspan(i * n, n),
                    .labels = labels.subspan(i * n, n)});
  return ring;
}

}  // namespace

ClassifierTraining::ClassifierTraining(const ClassifierTrainConfig& config,
                                       std::shared_ptr<const Dataset> data)
    : config_(validated(config, *data)),
      model_(config_.model),
      parameters_(model_, {.device = config_.device}),
      optimizer_(parameters_, config_.optimizer),
      learning_rate_("cosine", config_.learning_rate, config_.lr_warmup_steps, config_.max_train_steps),
      pixels_(slots(config_) * static_cast<size_t>(config_.batch_size) *
              loader_options(config_).image_bytes()),
      ids_(slots(config_) * static_cast<size_t>(config_.batch_size)),
      labels_(ids_.size()),
      loader_(std::move(data), loader_options(config_), ring_in(config_, pixels_, ids_, labels_)) {
  parameters_.initialize(config_.seed);
  const int64_t n = config_.batch_size;
  mean_ =
      from_vector(std::vector<float>(static_cast<size_t>(n), 1 / static_cast<float>(n)), {n}, config_.device);
}

MetricsRow ClassifierTraining::step() {
  const auto start = std::chrono::steady_clock::now();
  const ResNetConfig& m = config_.model;
  const int64_t n = config_.batch_size;
  MetricsRow row;
  row.learning_rate = learning_rate_.at(steps_done());
  row.epoch = epochs_done();

  const Batch& batch = loader_.next();
  const Shape shape{n, m.sample_size, m.sample_size, m.in_channels};
  const Tensor images =
      from_pixels(from_host(batch.images.data(), shape, DType::kUInt8, config_.device));     // [N,S,S,C]
  const Tensor labels = from_host(batch.labels.data(), {n}, DType::kInt32, config_.device);  // [N]
  parameters_.zero_gradients();
  const Tensor losses = cross_entropy(model_.logits(model_.features(images)), labels);  // [N]
  backward(losses, mean_);

  const std::vector<float> each = to_vector<float>(losses);
  row.loss = static_cast<float>(std::accumulate(each.begin(), each.end(), 0.0) / static_cast<double>(n));
  if (!std::isfinite(row.loss))
    failure("step ", steps_done() + 1, ": the loss is not finite; a lower learning rate may help");
  optimizer_.step(row.learning_rate);
  row.grad_norm = static_cast<float>(optimizer_.grad_norm());

  row.step = steps_done();
  row.images = row.step * n;
  row.seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
  row.images_per_second = static_cast<double>(n) / row.seconds;
  return row;
}

}  // namespace imago
