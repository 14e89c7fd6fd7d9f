// The trainer's own step, as train_ddpm runs it: batches from the loader's threads, their upload, the step,
// losses read when they are there. Timed in one piece over many steps, so that a GPU need not wait for
// the host.
#pragma once

#include <chrono>

#include "bench/noise_images.h"
#include "bench/profiling_backend.h"
#include "bench/step_options.h"
#include "models/trainer/trainer.h"

namespace imago {

/// Over so many images that the loader goes through an epoch every sixteen steps.
class WholeStep {
 public:
  explicit WholeStep(const StepOptions& options)
      : trainer_(options.train_config(), images(options.train_config())) {}

  /// The mean of so many steps, whose losses have all arrived.
  std::vector<StepTimes> take(int count) {
    const auto start = std::chrono::steady_clock::now();
    const double cpu_start = cpu_seconds();
    for (int i = 0; i < count; ++i) note_loss(trainer_.step());
    note_loss(trainer_.flush());
    const std::chrono::duration<double> seconds = std::chrono::steady_clock::now() - start;
    return {{.total = seconds.count() / count, .cpu = (cpu_seconds() - cpu_start) / count}};
  }
  int64_t parameters() const { return trainer_.parameters().count(); }
  double loss() const { return last_loss_; }

 private:
  static std::shared_ptr<const Dataset> images(const TrainConfig& c) {
    return std::make_shared<NoiseImages>(16 * c.batch_size, c.height, c.width, c.unet.in_channels);
  }

  void note_loss(const std::vector<MetricsRow>& rows) {
    if (!rows.empty()) last_loss_ = rows.back().loss;
  }

  Trainer trainer_;
  double last_loss_ = 0;
};

}  // namespace imago
