// The network alone, forward, as in sampling: no gradients are recorded.
#pragma once

#include <chrono>
#include <numeric>
#include <vector>

#include "bench/profiling_backend.h"
#include "bench/step_options.h"
#include "engine/autograd/tape.h"
#include "engine/nn/flat_parameters.h"
#include "engine/ops/random.h"
#include "models/unet/unet.h"

namespace imago {

class ForwardPass {
 public:
  explicit ForwardPass(const StepOptions& options)
      : device_(parse_device(options.device)),
        model_(options.network()),
        parameters_(model_, {device_, DType::kFloat32, options.activations(), /*gradients=*/false}) {
    parameters_.initialize(0);
    const UNetConfig& config = model_.config();
    const std::vector<int>& size = *config.sample_size;
    std::vector<int64_t> ids(static_cast<size_t>(options.batch));
    std::iota(ids.begin(), ids.end(), 0);
    x_ = normal({options.batch, size[0], size[1], config.in_channels},
                {2, 0, from_vector(ids, {options.batch}, device_)}, options.activations(), device_);
    timesteps_ = timesteps_tensor(config, std::vector<int>(ids.size(), 500), device_);
  }

  /// So many passes, each timed by itself.
  std::vector<StepTimes> take(int count) {
    const NoGrad no_grad;
    std::vector<StepTimes> all;
    for (int i = 0; i < count; ++i) {
      backend_of(device_).synchronize();
      const auto start = std::chrono::steady_clock::now();
      const double cpu_start = cpu_seconds();
      model_.forward(x_, timesteps_);  // [N,H,W,C]
      backend_of(device_).synchronize();
      const std::chrono::duration<double> seconds = std::chrono::steady_clock::now() - start;
      all.push_back({.total = seconds.count(), .forward = seconds.count(), .cpu = cpu_seconds() - cpu_start});
    }
    return all;
  }
  int64_t parameters() const { return parameters_.count(); }
  double loss() const { return 0; }

 private:
  Device device_;
  UNet model_;
  FlatParameters parameters_;
  Tensor x_;          // [N,H,W,C]
  Tensor timesteps_;  // [N]
};

}  // namespace imago
