// Sampling as a list of what to do: which times the network is asked at, and what is made of its answers.
#pragma once

#include <limits>
#include <optional>
#include <vector>

#include "models/diffusion/ops.h"
#include "models/diffusion/scheduler_config.h"

namespace imago {

/// x = signal x_0 + noise e, e ~ N(0,1): how much of an image and how much noise x is made of.
struct NoiseLevel {
  double signal, noise;
};

/// One evaluation of the network, and the update behind it.
struct PlannedStep {
  float time = 0;           // that the network is given
  float input_scale = 1;    // the network sees input_scale x
  SamplerStep update = {};  // y takes the place of x
  NoiseLevel after = {};    // of y
  bool complete = true;     // y is a sample at the level `after`, not a solver's intermediate point
};

/// Saharia 2022, section 2.3: x_0 is clamped to +-s and divided by s, the `ratio` quantile of an image's
/// |x_0| brought into [1, max].
struct DynamicThresholding {
  double ratio, max;
};

/// Coefficients are those of diffusers: float32 in its order for DDPM and DDIM, rounded once from double for
/// the others.
struct SamplingPlan {
  double start_scale = 1;  // x = start_scale e, before the first step of sampling from noise
  NoiseLevel start = {};   // or x = start.signal x_0 + start.noise e, to begin with an image
  double start_churn = 0;  // standard deviation of fresh noise that is added to either
  int history = 0;         // entries that the updates look back at
  std::optional<DynamicThresholding> thresholding;  // then every clip is 0
  std::vector<PlannedStep> steps;

  int evaluations() const { return static_cast<int>(steps.size()); }
};

/// What diffusers passes to step() rather than keeping it in scheduler_config.json.
struct SamplerOptions {
  double eta = 0;                         // DDIM: 0 adds no noise, 1 as much as DDPM
  bool use_clipped_model_output = false;  // DDIM: derive epsilon again from the clipped x_0
  /// DDIM: step to the next time of the list. diffusers steps to t - T / steps whatever the spacing, which is
  /// not the same for linspace and trailing; false does as it does.
  bool follow_timesteps = false;
  double s_churn = 0, s_tmin = 0, s_tmax = std::numeric_limits<double>::infinity(), s_noise = 1;  // EDM Heun
  int begin = 0;  // leave out as many of the first steps, to begin with an image at plan.start
};

/// The plan of the class that config.kind names. Bad input: num_inference_steps outside 1 .. T, begin outside
/// 0 .. num_inference_steps - 1, eta outside [0,1], and combinations of keys that have no finite
/// coefficients.
SamplingPlan make_plan(const SchedulerConfig& config, int num_inference_steps,
                       const SamplerOptions& options = {});

/// Heun's method with churn (Karras 2022, algorithm 2), 2 N - 1 evaluations. For a model of EDM's
/// preconditioning (kind kEdmEuler) on that configuration's noise levels; for any model with betas on Karras'
/// levels between its first and last, with x_0 = x - sigma epsilon.
SamplingPlan edm_heun_plan(const SchedulerConfig& config, int num_inference_steps,
                           const SamplerOptions& options = {});

/// DDIM upwards: from an image to the noise from which DDIM makes it (Song 2020, section 5.4), as diffusers'
/// DDIMInverseScheduler. Spacing leading or trailing.
SamplingPlan ddim_inversion_plan(const SchedulerConfig& config, int num_inference_steps);

}  // namespace imago
