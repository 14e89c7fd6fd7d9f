// The trainer's own step, as train_ddpm runs it: batches from the loader's threads, their upload, the step,
// losses looked at when they are there. Timed in one piece over many steps, so that a GPU need not wait for
// the host.
#pragma once

#include <chrono>

#include "bench/profiling_backend.h"
#include "bench/step_options.h"
#include "kernels/philox.h"
#include "models/trainer/trainer.h"

namespace imago {

/// Images of noise: a step takes the same time on them as on any.
class NoiseImages final : public Dataset {
 public:
  NoiseImages(int64_t count, int height, int width, int channels)
      : count_(count), height_(height), width_(width), channels_(channels) {}

  int64_t size() const override { return count_; }
  Image image(int64_t i) const override {
    Image p{height_, width_, channels_, {}};
    p.pixels.resize(static_cast<size_t>(height_) * width_ * channels_);
    for (size_t at = 0; at < p.pixels.size(); ++at) {
      p.pixels[at] = static_cast<uint8_t>(random_words(0, 0, i, static_cast<uint32_t>(at)).w0);
    }
    return p;
  }
  const std::vector<std::string>& class_names() const override { return no_classes_; }
  std::string name(int64_t i) const override { return "noise " + std::to_string(i); }
  std::string description() const override { return "images of noise"; }

 private:
  int64_t count_;
  int height_, width_, channels_;
  std::vector<std::string> no_classes_;
};

class WholeStep {
 public:
  explicit WholeStep(const StepOptions& options) : trainer_(train_config(options), images(options)) {}

  /// The mean of so many steps, whose losses have all arrived.
  std::vector<StepTimes> take(int count) {
    const auto start = std::chrono::steady_clock::now();
    const double cpu_start = cpu_seconds();
    for (int i = 0; i < count; ++i) look(trainer_.step());
    look(trainer_.flush());
    const std::chrono::duration<double> seconds = std::chrono::steady_clock::now() - start;
    return {{.total = seconds.count() / count, .cpu = (cpu_seconds() - cpu_start) / count}};
  }
  int64_t parameters() const { return trainer_.parameters().count(); }
  double loss() const { return last_loss_; }

 private:
  static TrainConfig train_config(const StepOptions& options) {
    TrainConfig config;
    config.unet = network(options);
    config.height = (*config.unet.sample_size)[0];
    config.width = (*config.unet.sample_size)[1];
    config.batch_size = options.batch;
    config.random_flip = true;
    config.loader_workers = options.loader_workers;
    config.max_train_steps = 1 << 30;
    config.device = parse_device(options.device);
    config.compute = options.activations();
    if (options.ema) config.optimizer.ema.emplace();
    return config;
  }
  static std::shared_ptr<const Dataset> images(const StepOptions& options) {
    const UNetConfig config = network(options);
    const std::vector<int>& size = *config.sample_size;
    return std::make_shared<NoiseImages>(16 * options.batch, size[0], size[1], config.in_channels);
  }

  void look(const std::vector<MetricsRow>& rows) {
    if (!rows.empty()) last_loss_ = rows.back().loss;
  }

  Trainer trainer_;
  double last_loss_ = 0;
};

}  // namespace imago
