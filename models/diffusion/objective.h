// What a denoising diffusion model is trained for: to predict what was added to an image (Ho 2020, equation
// 14 and algorithm 1), or a sum of that and the image.
#pragma once

#include <array>
#include <optional>

#include "engine/tensor/tensor.h"
#include "models/diffusion/scheduler_config.h"
#include "models/unet/config.h"

namespace imago {

/// The weight of a sample's loss by its time, with S = alpha_bar / (1 - alpha_bar).
enum class LossWeighting {
  kOne,     // 1: L_simple
  kSnr,     // S: what train_unconditional.py does for prediction type "sample"
  kMinSnr,  // Hang 2023: epsilon min(S,g)/S, sample min(S,g), v min(S,g)/(S+1)
};

/// Of the noise levels in training: ln(sigma) of EDM, logit(s) of flow matching is normally distributed.
struct LevelDistribution {
  double mean, std;
};
/// EDM: -1.2, 1.2 (Karras 2022, table 1); flow matching: 0, 1 (Esser 2024, section 3.1).
LevelDistribution default_levels(SchedulerConfig::Kind kind);

/// What the objective draws for one sample, and what follows from it.
struct SampleNumbers {
  float time;   // what the model is given: t, ln(sigma) / 4 (EDM) or T s (flow matching)
  int quarter;  // of the times there are, from little noise to much: 0 to 3
  std::array<float, 4> coefficients;  // for q_sample
  float weight;
  /// Of the sample's term of L_vlb, where the variance is learned; for hybrid_loss.
  std::array<float, 4> bound = {};
  bool class_dropped = false;  // the model is shown "no class" instead of the sample's
};

/// A micro-batch, on the device: images, and their SampleNumbers in the types that the model wants.
struct MicroBatch {
  Tensor images;        // [N,H,W,C] uint8 (scaled to [-1,1] on the way) or float32 in [-1,1]
  Tensor ids;           // [N] int64
  Tensor timesteps;     // [N] as UNet::forward wants them
  Tensor coefficients;  // [N,4] float32
  Tensor weights;       // [N] float32
  Tensor class_labels;  // as UNet::forward wants them, or undefined
  Tensor bound;         // [N,4] float32, or undefined where the variance is not learned
};

/// What the model sees, and what it should say.
struct NoisedImages {
  Tensor xt;      // [N,H,W,C], the model's input
  Tensor target;  // [N,H,W,C] float32 (float64)
};

/// One of three, by the kind of the scheduler. In all of them the model's input and target are sums of the
/// image x_0 and the noise e, so they differ in numbers alone:
///   betas   x_t = sqrt(ab) x_0 + sqrt(1-ab) e; the target is e, x_0 or v = sqrt(ab) e - sqrt(1-ab) x_0.
///   flow    x_s = (1-s) x_0 + s e; the target is e - x_0 (Lipman 2023; Liu 2023).
///   EDM     c_in (x_0 + sigma e); the target is (x_0 - c_skip (x_0 + sigma e)) / c_out, whose weight is 1
///           (Karras 2022, equation 8 and table 1).
/// With betas and variance_type learned_range the model has 2C output channels: behind the prediction o,
/// which says where between its two bounds the log variance lies, and the loss is the hybrid one, L_simple +
/// lambda L_vlb (Nichol & Dhariwal 2021, equation 16), in which L_vlb teaches the variance alone. The model
/// stands between noised() and loss(), both of which are functions of (seed, batch) and nothing but
/// operations of the device:
///   const auto [xt, target] = objective.noised(batch);
///   const Tensor prediction = model.forward(xt, batch.timesteps, batch.class_labels);
///   backward(objective.loss(prediction, target, batch), dloss);
class Objective {
 public:
  struct Options {
    uint64_t seed = 0;
    DType activations = DType::kFloat32;
    LossWeighting weighting = LossWeighting::kOne;
    double snr_gamma = 5;                                    // kMinSnr's g
    std::optional<LevelDistribution> levels = std::nullopt;  // absent: default_levels()
    /// The share of samples that are trained without their class (Ho & Salimans 2022, algorithm 1).
    double class_dropout = 0;
  };
  Objective(const SchedulerConfig& config, const Options& options);

  /// Channels of the model's output: the image's, twice where the variance is learned.
  int output_channels(int image_channels) const {
    return learns_variance_ ? 2 * image_channels : image_channels;
  }
  /// Bad input for a model that cannot take the objective's images and times.
  void check_model(const UNetConfig& model) const;
  /// Bad input for a model whose output loss() cannot compare, and for a variance that it cannot teach.
  void check_output(const UNetConfig& model) const;

  /// A function of (seed, sample_id) alone.
  SampleNumbers numbers_of(int64_t sample_id) const;
  /// Draws the noise of the batch's samples and adds it to their images.
  NoisedImages noised(const MicroBatch& batch) const;
  /// The weighted mean square of prediction - target, image by image: [N], float32 (float64). With dy = 1/N
  /// each, backward gives the gradient of the mean. With a learned variance T / 1000 times the sample's term
  /// of L_vlb, in bits and as a mean over pixels, is added: t being uniform, that is lambda = 0.001 times the
  /// sum over all t, as in the paper and its authors' program. The weight is of the square alone.
  Tensor loss(const Tensor& prediction, const Tensor& target, const MicroBatch& batch) const;

  // ---- With betas ----

  /// t of a sample, uniform in 0 .. T-1.
  int timestep_of(int64_t sample_id) const;
  float weight_of(int t) const;
  const NoiseSchedule& schedule() const { return schedule_; }

 private:
  SampleNumbers numbers_with_betas(int64_t sample_id) const;
  std::array<float, 4> bound_of(int t) const;
  double alpha_bar_before(int t) const { return t > 0 ? schedule_.alpha_bar(t - 1) : 1; }
  double beta_of(int t) const { return 1 - schedule_.alpha_bar(t) / alpha_bar_before(t); }
  SampleNumbers numbers_of_flow(double z) const;
  SampleNumbers numbers_of_edm(double z) const;
  bool drops_class_of(int64_t sample_id) const;
  DType exact() const { return options_.activations == DType::kFloat64 ? DType::kFloat64 : DType::kFloat32; }

  SchedulerConfig config_;
  Options options_;
  LevelDistribution levels_;
  NoiseSchedule schedule_;
  bool learns_variance_;
};

}  // namespace imago
