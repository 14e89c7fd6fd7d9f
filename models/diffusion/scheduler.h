// Which times a sampler visits, and what it does at each: DDPM (Ho 2020) and DDIM (Song 2020).
#pragma once

#include <memory>
#include <vector>

#include "models/diffusion/ops.h"
#include "models/diffusion/scheduler_config.h"

namespace imago {

/// A plan for sampling: times from high to low and, for each, the coefficients of one SamplerStep. All
/// arithmetic on coefficients is float32 in diffusers' order, so that steps agree with it.
class Scheduler {
 public:
  virtual ~Scheduler() = default;
  const SchedulerConfig& config() const { return config_; }
  const std::vector<int>& timesteps() const { return timesteps_; }
  int steps() const { return static_cast<int>(timesteps_.size()); }

  /// The i-th step. Where config().thresholding is on, clip is 0: the sampler treats x_0 itself.
  virtual SamplerStep step(int i) const = 0;

 protected:
  Scheduler(const SchedulerConfig& config, int num_inference_steps);
  float alpha_bar(int t, float before_first) const { return t < 0 ? before_first : schedule_.alpha_bar(t); }
  /// x_0 = x0_x x + x0_m m by the prediction type, and the clipping; the rest zero.
  SamplerStep predict_x0(float alpha_bar) const;
  /// The time that follows the i-th, -1 after the last.
  int previous(int i) const { return i + 1 < steps() ? timesteps_[i + 1] : -1; }

  SchedulerConfig config_;
  NoiseSchedule schedule_;
  int requested_;  // num_inference_steps
  std::vector<int> timesteps_;
};

/// mean = sqrt(ab_p) b / (1 - ab_t) x_0 + sqrt(a) (1 - ab_p) / (1 - ab_t) x_t with a = ab_t / ab_p, b = 1 -
/// a, and p the next time of the list; noise with the variance of config.variance_type where t > 0 (Ho 2020,
/// equation 7).
class DdpmScheduler final : public Scheduler {
 public:
  DdpmScheduler(const SchedulerConfig& config, int num_inference_steps)
      : Scheduler(config, num_inference_steps) {}
  SamplerStep step(int i) const override;
  /// The variance of the noise at step i (for fixed_small_log, as in diffusers, its square root).
  float variance(int i) const;
};

struct DdimOptions {
  double eta = 0;  // 0: no noise; 1: as much as DDPM
  /// Derive epsilon again from the clipped x_0.
  bool use_clipped_model_output = false;
  /// Step to the next time of the list. diffusers steps to t - T / steps whatever the spacing, which is not
  /// the same for linspace and trailing; false does as it does.
  bool follow_timesteps = false;
};

/// x_p = sqrt(ab_p) x_0 + sqrt(1 - ab_p - s^2) eps + s z, s = eta sqrt((1 - ab_p) / (1 - ab_t)) sqrt(1 - ab_t
/// / ab_p) (Song 2020, equations 12 and 16).
class DdimScheduler final : public Scheduler {
 public:
  DdimScheduler(const SchedulerConfig& config, int num_inference_steps, const DdimOptions& options = {})
      : Scheduler(config, num_inference_steps), options_(options) {}
  SamplerStep step(int i) const override;

 private:
  DdimOptions options_;
};

/// The scheduler that config.kind names; eta concerns DDIM only. num_inference_steps outside 1 .. T is bad
/// input.
std::unique_ptr<Scheduler> make_scheduler(const SchedulerConfig& config, int num_inference_steps,
                                          double eta = 0);

}  // namespace imago
