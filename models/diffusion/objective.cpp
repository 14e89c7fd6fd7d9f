#include "models/diffusion/objective.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <numbers>

#include "engine/ops/elementwise.h"
#include "engine/ops/loss.h"
#include "kernels/philox.h"
#include "models/diffusion/ops.h"
#include "models/diffusion/streams.h"

namespace imago {
namespace {

// x_t = c0 x_0 + c1 e, target = c2 x_0 + c3 e.
std::array<float, 4> coefficients_of(double alpha_bar, PredictionType type) {
  const auto a = static_cast<float>(std::sqrt(alpha_bar)), b = static_cast<float>(std::sqrt(1 - alpha_bar));
  switch (type) {
    case PredictionType::kEpsilon: return {a, b, 0, 1};
    case PredictionType::kSample: return {a, b, 1, 0};
    case PredictionType::kVPrediction: return {a, b, -b, a};
  }
  failure("no such prediction type");
}

/// d x_0 / d m of x_0 as the prediction m gives it.
double x0_by_prediction(double alpha_bar, PredictionType type) {
  switch (type) {
    case PredictionType::kEpsilon: return -std::sqrt((1 - alpha_bar) / alpha_bar);
    case PredictionType::kSample: return 1;
    case PredictionType::kVPrediction: return -std::sqrt(1 - alpha_bar);
  }
  failure("no such prediction type");
}

/// Of a normal variable's range, each as probable as the others.
int quarter_of_normal(double z) {
  constexpr double kQuartile = 0.6744897501960817;
  return (z >= -kQuartile) + (z >= 0) + (z >= kQuartile);
}

}  // namespace

LevelDistribution default_levels(SchedulerConfig::Kind kind) {
  return kind == SchedulerConfig::Kind::kEdmEuler ? LevelDistribution{-1.2, 1.2} : LevelDistribution{0, 1};
}

Objective::Objective(const SchedulerConfig& config, const Options& options)
    : config_(config),
      options_(options),
      levels_(options.levels.value_or(default_levels(config.kind))),
      schedule_(config.noise),
      learns_variance_(config.kind == SchedulerConfig::Kind::kDdpm &&
                       config.variance_type == "learned_range") {
  if (!has_betas(config.kind) && options.weighting != LossWeighting::kOne)
    bad_input("weights by the signal-to-noise ratio are for DDPM alone, not for ", name_of(config.kind));
  if (!(levels_.std > 0))
    bad_input("standard deviation of noise levels: expected more than 0, not ", levels_.std);
  if (options.weighting == LossWeighting::kMinSnr && !(options.snr_gamma > 0))
    bad_input("min-SNR gamma: expected more than 0, not ", options.snr_gamma);
  if (!(options.class_dropout >= 0 && options.class_dropout < 1))
    bad_input("class dropout: expected at least 0 and less than 1, not ", options.class_dropout);
}

void Objective::check_model(const UNetConfig& model) const {
  if (model.time_embedding_type == "fourier")
    bad_input(
        "time_embedding_type \"fourier\" divides images by the time and cannot be trained: times here "
        "include 0 "
        "(DDPM) or are no standard deviations (EDM, flow matching)");
  if (model.time_embedding_type == "learned" && !has_betas(config_.kind))
    bad_input("time_embedding_type \"learned\" knows whole times only, and ", name_of(config_.kind),
              " has others");
}

void Objective::check_output(const UNetConfig& model) const {
  if (config_.kind == SchedulerConfig::Kind::kDdpm && config_.variance_type == "learned")
    bad_input("variance_type \"learned\" cannot be trained; expected learned_range, or a fixed one");
  const int expected = output_channels(model.in_channels);
  if (model.out_channels != expected)
    bad_input("out_channels is ", model.out_channels, " and in_channels ", model.in_channels, ": expected ",
              expected,
              learns_variance_ ? " out, for what is predicted and its variance (variance_type learned_range)"
                               : " out; twice as many are for variance_type learned_range");
  if (!learns_variance_) return;
  for (int t = 0; t < schedule_.timesteps(); ++t) {
    if (!(beta_of(t) > 0))
      bad_input("variance_type learned_range: beta ", schedule_.beta(t), " at t = ", t,
                " is no variance; expected more than 0 and than what float32 rounds alpha_bar by");
    if (!(schedule_.alpha_bar(t) > 0) && config_.prediction_type == PredictionType::kEpsilon)
      bad_input("variance_type learned_range: at t = ", t,
                " there is no signal, and the noise says nothing of the image; expected prediction type "
                "v_prediction or sample");
  }
}

int Objective::timestep_of(int64_t sample_id) const {
  const auto T = static_cast<uint32_t>(schedule_.timesteps());
  return static_cast<int>(
      uniform_below(T, options_.seed, random_stream(DiffusionPurpose::kTimesteps), sample_id, 0));
}

float Objective::weight_of(int t) const {
  const double snr = schedule_.snr(t);
  if (options_.weighting == LossWeighting::kOne) return 1;
  if (options_.weighting == LossWeighting::kSnr) return static_cast<float>(snr);
  const double least = std::min(snr, options_.snr_gamma);
  switch (config_.prediction_type) {
    case PredictionType::kEpsilon: return snr > 0 ? static_cast<float>(least / snr) : 1;  // the limit
    case PredictionType::kSample: return static_cast<float>(least);
    case PredictionType::kVPrediction: return static_cast<float>(least / (snr + 1));
  }
  failure("no such prediction type");
}

SampleNumbers Objective::numbers_with_betas(int64_t sample_id) const {
  const int t = timestep_of(sample_id);
  return {.time = static_cast<float>(t),
          .quarter = static_cast<int>(int64_t{t} * 4 / schedule_.timesteps()),
          .coefficients = coefficients_of(schedule_.alpha_bar(t), config_.prediction_type),
          .weight = weight_of(t),
          .bound = learns_variance_ ? bound_of(t) : std::array<float, 4>()};
}

// What makes the model's mean wrong is its x_0 alone: the posterior's mean is sqrt(ab_{t-1}) b / (1 - ab_t)
// x_0 + .. x_t with b = 1 - ab_t / ab_{t-1}, which is beta_t but for roundings (Ho 2020, equation 7). The two
// log variances are the posterior's, ln((1 - ab_{t-1}) / (1 - ab_t) b), and ln(b) (Nichol & Dhariwal 2021,
// equation 15). At t = 0 the posterior is a point, and the first is that of t = 1.
std::array<float, 4> Objective::bound_of(int t) const {
  const double ab = schedule_.alpha_bar(t), b = beta_of(t);
  const double of_x0 = std::sqrt(alpha_bar_before(t)) * b / (1 - ab);
  const int s = std::max(t, std::min(1, schedule_.timesteps() - 1));
  const double posterior = s > 0 ? (1 - alpha_bar_before(s)) / (1 - schedule_.alpha_bar(s)) * beta_of(s) : b;
  return {static_cast<float>(of_x0 * x0_by_prediction(ab, config_.prediction_type)),
          static_cast<float>(std::log(posterior)), static_cast<float>(std::log(b)), t == 0 ? 1.0f : 0.0f};
}

// logit(s) = mean + std z, and the scheduler's shift towards noise.
SampleNumbers Objective::numbers_of_flow(double z) const {
  const double drawn = 1 / (1 + std::exp(-(levels_.mean + levels_.std * z)));
  const double s = config_.shift * drawn / (1 + (config_.shift - 1) * drawn);
  return {.time = static_cast<float>(s * config_.noise.num_train_timesteps),
          .quarter = quarter_of_normal(z),
          .coefficients = {static_cast<float>(1 - s), static_cast<float>(s), -1, 1},
          .weight = 1};
}

// ln(sigma) = mean + std z. With r = sqrt(sigma^2 + sd^2): c_in = 1 / r, c_skip = sd^2 / r^2 and c_out =
// sigma sd / r, so the target is sigma / (sd r) x_0 - sd / r e, and the weight lambda c_out^2 is 1.
SampleNumbers Objective::numbers_of_edm(double z) const {
  const double log_sigma = levels_.mean + levels_.std * z, sigma = std::exp(log_sigma);
  const double sd = config_.sigma_data, r = std::sqrt(sigma * sigma + sd * sd);
  const double sign = config_.prediction_type == PredictionType::kVPrediction ? -1 : 1;  // of c_out
  return {.time = static_cast<float>(log_sigma / 4),
          .quarter = quarter_of_normal(z),
          .coefficients = {static_cast<float>(1 / r), static_cast<float>(sigma / r),
                           static_cast<float>(sign * sigma / (sd * r)), static_cast<float>(-sign * sd / r)},
          .weight = 1};
}

bool Objective::drops_class_of(int64_t sample_id) const {
  return uniform_at(options_.seed, random_stream(DiffusionPurpose::kClassDropout), sample_id, 0) <
         options_.class_dropout;
}

SampleNumbers Objective::numbers_of(int64_t sample_id) const {
  const auto z = [&] {
    return static_cast<double>(
        normal_at(options_.seed, random_stream(DiffusionPurpose::kTimesteps), sample_id, 0));
  };
  SampleNumbers numbers = has_betas(config_.kind) ? numbers_with_betas(sample_id)
                          : is_flow(config_.kind) ? numbers_of_flow(z())
                                                  : numbers_of_edm(z());
  numbers.class_dropped = drops_class_of(sample_id);
  return numbers;
}

NoisedImages Objective::noised(const MicroBatch& batch) const {
  const Tensor& x0 = batch.images;  // [N,H,W,C]
  check(batch.ids.shape() == Shape{x0.dim(0)}, "training: one sample id per image");
  const RandomKey key{options_.seed, random_stream(DiffusionPurpose::kNoise), batch.ids};
  const Tensor xt = empty(x0.shape(), options_.activations, x0.device());  // [N,H,W,C]
  const Tensor target = empty(x0.shape(), exact(), x0.device());           // [N,H,W,C]
  q_sample(x0, batch.coefficients, key, xt, target);
  return {xt, target};
}

Tensor Objective::loss(const Tensor& prediction, const Tensor& target, const MicroBatch& batch) const {
  const Tensor weights = cast(batch.weights, exact());  // [N]
  if (!learns_variance_) return mse_loss(prediction, target, weights);
  const double lambda = schedule_.timesteps() / 1000.0 / std::numbers::ln2;  // of nats
  return hybrid_loss(prediction, target, batch.images, weights, batch.bound, static_cast<float>(lambda));
}

}  // namespace imago
