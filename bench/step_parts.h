// A training step taken apart: forward, backward, optimizer, each timed on the host after a synchronize.
#pragma once

#include <chrono>
#include <numeric>
#include <vector>

#include "bench/profiling_backend.h"
#include "bench/step_options.h"
#include "engine/nn/flat_parameters.h"
#include "engine/optim/adamw.h"
#include "models/diffusion/objective.h"
#include "models/unet/unet.h"

namespace imago {

/// A step is: times and noise, x_t, forward, loss, backward, AdamW. With options.infer it is a forward pass.
class StepParts {
 public:
  explicit StepParts(const StepOptions& options)
      : options_(options),
        device_(parse_device(options.device)),
        model_(network(options)),
        parameters_(model_, {device_, DType::kFloat32, options.activations(), !options.infer}),
        loss_(SchedulerConfig(), {.seed = 1, .activations = options.activations()}) {
    parameters_.initialize(0);
    parameters_.refresh_compute();
    if (!options.infer) {
      AdamW::Options adamw{.max_grad_norm = 0, .ema = {}};
      if (options.ema) adamw.ema.emplace();
      optimizer_.emplace(parameters_, adamw);
      parameters_.zero_gradients();
    }
    const UNetConfig& config = model_.config();
    const std::vector<int>& size = *config.sample_size;
    images_ = empty({options.batch, size[0], size[1], config.in_channels}, DType::kFloat32, device_);
    std::vector<int64_t> ids(static_cast<size_t>(options.batch));
    std::iota(ids.begin(), ids.end(), 0);
    backend_of(device_).normal({2, 0, from_vector(ids, {options.batch}, device_)}, images_);
    weight_ = std::vector<float>(ids.size(), 1.0f / static_cast<float>(options.batch));
  }

  /// So many steps, each timed by itself.
  std::vector<StepTimes> take(int count) {
    std::vector<StepTimes> all;
    for (int i = 0; i < count; ++i) {
      const double start = cpu_seconds();
      StepTimes times = options_.infer ? infer() : train();
      times.total = times.forward + times.backward + times.optimizer;
      times.cpu = cpu_seconds() - start;
      all.push_back(times);
    }
    return all;
  }
  int64_t parameters() const { return parameters_.count(); }
  double loss() const { return last_loss_; }

 private:
  double lap() {  // seconds since the last call
    using Clock = std::chrono::steady_clock;
    backend_of(device_).synchronize();
    const auto now = Clock::now();
    const std::chrono::duration<double> seconds = now - mark_;
    mark_ = now;
    return seconds.count();
  }

  StepTimes train() {
    std::vector<int64_t> samples;
    for (int i = 0; i < options_.batch; ++i) samples.push_back(samples_++);
    StepTimes times;
    lap();
    const Tensor loss = loss_(model_, loss_.batch(model_.config(), images_, samples));  // [N]
    times.forward = lap();
    backward(loss, from_vector(weight_, {options_.batch}, device_));  // the gradient of the mean
    times.backward = lap();
    optimizer_->step(1e-4);
    parameters_.zero_gradients();
    times.optimizer = lap();
    const std::vector<float> losses = to_vector<float>(loss);
    last_loss_ = std::accumulate(losses.begin(), losses.end(), 0.0) / options_.batch;
    return times;
  }

  StepTimes infer() {
    const NoGrad no_grad;
    Tensor x = images_;
    if (options_.activations() != DType::kFloat32) {
      x = empty(images_.shape(), options_.activations(), device_);
      backend_of(device_).copy(images_, x);
    }
    const Tensor t = timesteps_tensor(model_.config(), std::vector<int>(weight_.size(), 500), device_);
    StepTimes times;
    lap();
    model_.forward(x, t);
    times.forward = lap();
    return times;
  }

  StepOptions options_;
  Device device_;
  UNet model_;
  FlatParameters parameters_;
  TrainingLoss loss_;
  std::optional<AdamW> optimizer_;
  Tensor images_;  // [N,H,W,C]
  std::vector<float> weight_;
  int64_t samples_ = 0;
  double last_loss_ = 0;
  std::chrono::steady_clock::time_point mark_;
};

}  // namespace imago
