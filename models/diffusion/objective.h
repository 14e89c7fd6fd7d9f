// The loss of a denoising diffusion model: predict what was added (Ho 2020, equation 14 and algorithm 1).
#pragma once

#include <array>
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

/// What the loss draws for one sample, and what follows from it.
struct SampleNumbers {
  int timestep;
  std::array<float, 4> coefficients;  // for q_sample
  float weight;
};

/// A micro-batch, on the device: images, and their SampleNumbers in the types that the model wants.
struct TrainingBatch {
  Tensor images;        // [N,H,W,C] uint8 (scaled to [-1,1] on the way) or float32 in [-1,1]
  Tensor ids;           // [N] int64
  Tensor timesteps;     // [N] as UNet::forward wants them
  Tensor coefficients;  // [N,4] float32
  Tensor weights;       // [N] float32
  Tensor class_labels;  // as UNet::forward wants them, or undefined
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

  /// A function of (seed, sample_id) alone.
  SampleNumbers numbers_of(int64_t sample_id) const;
  /// Those of all samples on the images' device, as a batch without class labels.
  TrainingBatch batch(const UNetConfig& model, const Tensor& images,
                      const std::vector<int64_t>& sample_ids) const;

  /// Draws the noise, runs the model and compares: the loss [N], float32 (float64), one per image. A
  /// function of (seed, batch, weights) alone, and nothing but operations of the device: it can be
  /// recorded as a graph. backward(loss, dy) with dy = 1/N each gives the gradients of the mean. Dropout
  /// drops where a DropoutScope is alive.
  Tensor operator()(UNet& model, const TrainingBatch& batch) const;

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
