// The loss of a denoising diffusion model: predict what was added (Ho 2020, equation 14 and algorithm 1).
#pragma once

#include <vector>

#include "models/diffusion/scheduler_config.h"
#include "models/unet/unet.h"

namespace imago {

/// The weight of a sample's loss by its time, with S = alpha_bar / (1 - alpha_bar).
enum class LossWeighting {
  kOne,     // 1: L_simple
  kSnr,     // S: what train_unconditional.py does for prediction type "sample"
  kMinSnr,  // Hang 2023: epsilon min(S,g)/S, sample min(S,g), v min(S,g)/(S+1)
};

/// One micro-batch.
struct TrainingBatch {
  Tensor pictures;                  // [N,H,W,C] uint8 (scaled to [-1,1] on the way) or float32 in [-1,1]
  std::vector<int64_t> sample_ids;  // [N] global sample numbers: what the time and the noise are functions of
  Tensor class_labels;              // as UNet::forward wants them, or undefined
};

struct TrainingLossResult {
  Tensor loss;                 // [N] float32 (float64), one per picture: ready for backward()
  std::vector<int> timesteps;  // [N], on the host
};

/// x_t = sqrt(ab) x_0 + sqrt(1-ab) e; the target is e, x_0 or v = sqrt(ab) e - sqrt(1-ab) x_0.
class TrainingLoss {
 public:
  struct Options {
    uint64_t seed = 0;
    DType activations = DType::kFloat32;
    LossWeighting weighting = LossWeighting::kOne;
    double snr_gamma = 5;  // kMinSnr's g
  };
  TrainingLoss(const SchedulerConfig& config, const Options& options);

  /// Draws times and noise, runs the model and compares. A function of (seed, sample_ids, pictures, weights)
  /// alone. backward(result.loss, dy) with dy = 1/N each gives the gradients of the mean. Dropout drops where
  /// a DropoutScope is alive.
  TrainingLossResult operator()(UNet& model, const TrainingBatch& batch) const;

  /// t of a sample, uniform in 0 .. T-1.
  int timestep_of(int64_t sample_id) const;
  float weight_of(int t) const;
  const NoiseSchedule& schedule() const { return schedule_; }

 private:
  SchedulerConfig config_;
  Options options_;
  NoiseSchedule schedule_;
};

}  // namespace imago
