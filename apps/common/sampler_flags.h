// The options of sample_ddpm that say how to sample.
#pragma once

#include <map>
#include <optional>
#include <string>

#include "apps/common/command_line.h"
#include "models/diffusion/sampling_plan.h"

namespace imago {

/// Declares its options on a command line and, once that is parsed, makes the plan.
class SamplerFlags {
 public:
  void declare(CommandLine& cli);
  void take(const CommandLine& cli);  // after its parse()
  /// Of a model whose folder says `config`; begin leaves out the first steps. Bad input for a sampler of
  /// another family of models, and for an option that the sampler does not have: one line that names both.
  SamplingPlan plan(const SchedulerConfig& config, int begin = 0) const;
  /// What a user who guides by `scale` should know, or nothing. DDIM with clip_sample clamps the predicted
  /// image but takes the noise from before the clamp; guided, the two drift apart, and samples leave their
  /// class.
  std::optional<std::string> guidance_warning(const SchedulerConfig& config, double scale) const;
  /// The plan that leads an image to the noise from which DDIM makes it.
  SamplingPlan inversion(const SchedulerConfig& config) const;
  /// How many steps the plan will have.
  int steps(const SchedulerConfig& config) const;
  /// What --scheduler says, or for auto the one of the folder.
  std::string sampler_name(const SchedulerConfig& config) const;
  /// The same options with another sampler and number of steps, where they are given. Bad input "NAME:
  /// expected ..." for a sampler that does not exist.
  SamplerFlags with(const std::optional<std::string>& scheduler, std::optional<int> steps) const;

 private:
  bool is(const char* name, const SchedulerConfig& config) const;
  SchedulerConfig chosen(const SchedulerConfig& config) const;
  void refuse_foreign_options(const SchedulerConfig& config) const;

  bool given(const std::string& option) const { return given_.contains(option); }

  std::map<std::string, std::string> given_;  // options that were, with their values
  std::string scheduler_ = "auto";            // auto: what the model folder says
  std::optional<int> steps_;
  SamplerOptions options_;
  std::string previous_step_ = "ratio";
};

}  // namespace imago
