// A training step taken apart: forward, backward, optimizer, each timed on the host after a synchronize.
#pragma once

#include <algorithm>
#include <chrono>
#include <numeric>
#include <vector>

#include "bench/noise_images.h"
#include "bench/profiling_backend.h"
#include "bench/step_options.h"
#include "models/trainer/training_step.h"

namespace imago {

/// The step that the trainer takes, on the same images every time and without clipping.
class StepParts {
 public:
  explicit StepParts(const StepOptions& options) : step_(train_config(options)) {
    step_.initialize();
    batch_ = step_.inputs().ring().front();
    const TrainConfig& c = step_.config();
    const NoiseImages noise(c.batch_size, c.height, c.width, c.unet.in_channels);
    for (int64_t i = 0; i < c.batch_size; ++i) {
      const std::vector<uint8_t> pixels = noise.image(i).pixels;
      std::copy(pixels.begin(), pixels.end(),
                batch_.images.begin() + i * static_cast<int64_t>(pixels.size()));
    }
    step_.on_phase_end([this](TrainingStep::Phase phase) { add_lap(phase); });
  }

  /// So many steps, each timed by itself.
  std::vector<StepTimes> take(int count) {
    std::vector<StepTimes> all;
    for (int i = 0; i < count; ++i) {
      const double start = cpu_seconds();
      run();
      times_.total = times_.forward + times_.backward + times_.optimizer;
      times_.cpu = cpu_seconds() - start;
      all.push_back(times_);
    }
    return all;
  }
  int64_t parameters() const { return step_.parameters().count(); }
  double loss() const {  // of the last step
    const std::vector<float> results = to_vector<float>(step_.results());
    return std::accumulate(results.begin(), results.end() - 1, 0.0) / static_cast<double>(results.size() - 1);
  }

 private:
  static TrainConfig train_config(const StepOptions& options) {
    TrainConfig config = options.train_config();
    config.optimizer.max_grad_norm = 0;
    return config;
  }

  void run() {
    std::iota(batch_.ids.begin(), batch_.ids.end(), samples_);
    samples_ += static_cast<int64_t>(batch_.ids.size());
    times_ = {};
    lap();
    step_.set_micro_batch(0, batch_);
    step_.begin(1e-4);
    times_.forward += lap();
    step_.compute_gradients();
    step_.update();
  }

  void add_lap(TrainingStep::Phase phase) {
    using Phase = TrainingStep::Phase;
    (phase == Phase::kForward    ? times_.forward
     : phase == Phase::kBackward ? times_.backward
                                 : times_.optimizer) += lap();
  }

  double lap() {  // seconds since the last call
    using Clock = std::chrono::steady_clock;
    backend_of(step_.config().device).synchronize();
    const auto now = Clock::now();
    const std::chrono::duration<double> seconds = now - mark_;
    mark_ = now;
    return seconds.count();
  }

  TrainingStep step_;
  Batch batch_;
  int64_t samples_ = 0;
  StepTimes times_;
  std::chrono::steady_clock::time_point mark_;
};

}  // namespace imago
