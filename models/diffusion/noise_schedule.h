// How much noise an image has at each time: beta_t, alpha_bar_t and what follows from them.
#pragma once

#include <optional>
#include <string>
#include <vector>

namespace imago {

/// What names a schedule in scheduler_config.json.
struct NoiseScheduleConfig {
  int num_train_timesteps = 1000;
  double beta_start = 1e-4, beta_end = 0.02;
  std::string beta_schedule =
      "linear";  // linear | scaled_linear | squaredcos_cap_v2 | sigmoid | laplace | exp
  std::optional<std::vector<double>> trained_betas;  // instead of all of the above but the number of steps
  bool rescale_betas_zero_snr = false;  // Lin 2023, algorithm 1: no signal is left at the last step
  bool operator==(const NoiseScheduleConfig&) const = default;
};

/// q(x_t | x_0) = N(sqrt(alpha_bar_t) x_0, (1 - alpha_bar_t) I), t = 0 .. T-1 (Ho 2020, equation 4). The
/// numbers are those of diffusers: betas are float32, the cumulative product is carried in double and stored
/// as float32.
class NoiseSchedule {
 public:
  /// Bad input, naming the key, for a schedule that does not exist or betas outside [0,1].
  explicit NoiseSchedule(const NoiseScheduleConfig& config);

  int timesteps() const { return static_cast<int>(betas_.size()); }  // T
  float beta(int t) const { return betas_.at(static_cast<size_t>(t)); }
  float alpha_bar(int t) const { return alpha_bars_.at(static_cast<size_t>(t)); }
  /// Signal to noise: alpha_bar / (1 - alpha_bar).
  double snr(int t) const;
  const std::vector<float>& betas() const { return betas_; }
  const std::vector<float>& alpha_bars() const { return alpha_bars_; }

 private:
  std::vector<float> betas_, alpha_bars_;
};

}  // namespace imago
