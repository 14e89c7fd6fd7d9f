// How many bits a model needs for images that it has not seen: the variational bound on -log2 p(x_0).
#pragma once

#include <functional>
#include <vector>

#include "engine/tensor/tensor.h"
#include "models/diffusion/noise_schedule.h"
#include "models/diffusion/scheduler_config.h"
#include "models/unet/unet.h"

namespace imago {

/// The bound for one image, in bits per dimension (a value of a pixel and channel).
struct ImageBound {
  double prior = 0;    // L_T: what is left of the image at the end of the noise
  double decoder = 0;  // L_0: the values 0 .. 255 from x_0
  double steps = 0;    // L_1 + .. + L_(T-1)
  double total() const { return prior + decoder + steps; }
};

/// Means over the images that were looked at time t.
struct TimestepBound {
  int64_t images = 0;
  double bits = 0;           // per dimension: the term of the bound
  double x0_error = 0;       // mean square of x_0 - predicted x_0
  double epsilon_error = 0;  // mean square of e - predicted e
};

/// L = L_T + sum_(t=1..T-1) L_t + L_0 (Ho 2020, equation 5; Nichol & Dhariwal 2021, equations 4 to 7), with t
/// counted from 0 as everywhere here:
///   L_T = KL(q(x_(T-1) | x_0) || N(0, 1))
///   L_t = KL(q(x_(t-1) | x_t, x_0) || N(c x_0' + c' x_t, s^2)), where q's mean is c x_0 + c' x_t
///   L_0 = -log p(x_0 | x_0'), the normal distribution N(x_0', s^2) summed over x_0 +- 1/255, without end
///         beyond the outermost values (Ho 2020, section 3.3)
/// x_0' is what the network's answer says about the image (by epsilon, sample or v), clamped as the scheduler
/// clamps; s^2 is the scheduler's variance: fixed_small (with its value of t = 1 at t = 0, where it is zero),
/// fixed_large, learned or learned_range. All is computed in float64 but for the network and the noise.
///
/// Noise is a function of (seed, image, t). To be faster, t may be drawn: the times 1 .. T-1 are cut into
/// strata, short near the image and longer by a constant factor from one to the next, because terms fall
/// about as 1 / t; one time of each is drawn for each image, and its term counts as often as the stratum has
/// times. That is right in the mean over draws. t = 0 is always looked at.
class VariationalBound {
 public:
  struct Options {
    uint64_t seed = 0;
    int timesteps = 0;  // evaluations of the network an image, from 2; 0: all T
    DType activations = DType::kFloat32;
  };
  /// Bad input for models without betas (EDM, flow matching), which have no bound of this form, for dynamic
  /// thresholding, for noise levels from which epsilon cannot be taken off, and for `timesteps` out of 2 ..
  /// T.
  VariationalBound(const SchedulerConfig& scheduler, const Options& options);

  /// Bad input for a model whose output has not the channels that the variance needs.
  void check_model(const UNetConfig& model) const;
  /// How often the network will be asked about each image.
  int evaluations() const { return static_cast<int>(strata_.size()); }

  /// images [N,H,W,C] uint8, ids [N] int64 for their noise, labels as UNet::forward wants them or undefined.
  /// `evaluated` is called after each evaluation; it may throw to stop. Records no gradients.
  void add(UNet& model, const Tensor& images, const std::vector<int64_t>& ids, const Tensor& labels,
           const std::function<void()>& evaluated);

  /// In the order in which they were added.
  const std::vector<ImageBound>& images() const { return images_; }
  /// T of them; images = 0 where no image was looked at.
  std::vector<TimestepBound> timesteps() const;

 private:
  struct Stratum {
    int first, size;
  };
  struct Numbers {                   // of a time
    double alpha, sigma;             // x_t = alpha x_0 + sigma e
    double x0_x, x0_m;               // x_0' = x0_x x_t + x0_m m
    double mean_x0;                  // c above
    double q_log, min_log, max_log;  // log variances: of q; the model's, or the ends of its range
  };
  struct Term {
    double bits, x0_error, epsilon_error;
  };
  void add_prior(const Tensor& images);
  Numbers numbers_of(int t) const;
  Term term_of(int t, int64_t pixels, int64_t channels, int64_t outputs, const uint8_t* image,
               const float* xt, const float* noise, const double* answer) const;
  double log_variance(const Numbers& numbers, double output) const;

  SchedulerConfig scheduler_;
  Options options_;
  NoiseSchedule schedule_;
  std::vector<Stratum> strata_;
  std::vector<ImageBound> images_;
  std::vector<TimestepBound> sums_;  // [T], sums in place of means
};

/// -log of the probability that N(mean, exp(log_variance)) gives to a value 0 .. 255: to its interval of
/// width 2/255 around value / 127.5 - 1, which has no end at 0 below and at 255 above. Exact in the tails,
/// too.
double decoder_nats(int value, double mean, double log_variance);

}  // namespace imago
