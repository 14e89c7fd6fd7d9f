#include "models/diffusion/objective.h"

#include <algorithm>
#include <array>
#include <cmath>

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

}  // namespace

Objective::Objective(const SchedulerConfig& config, const Options& options)
    : config_(config), options_(options), schedule_(config.noise) {
  if (options.weighting == LossWeighting::kMinSnr && !(options.snr_gamma > 0))
    bad_input("min-SNR gamma: expected more than 0, not ", options.snr_gamma);
  if (!(options.class_dropout >= 0 && options.class_dropout < 1))
    bad_input("class dropout: expected at least 0 and less than 1, not ", options.class_dropout);
}

void Objective::check_model(const UNetConfig& model) const {
  if (model.time_embedding_type == "fourier")
    bad_input(
        "time_embedding_type \"fourier\" divides by the time and cannot be trained with DDPM, whose times "
        "include 0");
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

bool Objective::drops_class_of(int64_t sample_id) const {
  return uniform_at(options_.seed, random_stream(DiffusionPurpose::kClassDropout), sample_id, 0) <
         options_.class_dropout;
}

SampleNumbers Objective::numbers_of(int64_t sample_id) const {
  const int t = timestep_of(sample_id);
  return {t, coefficients_of(schedule_.alpha_bar(t), config_.prediction_type), weight_of(t),
          drops_class_of(sample_id)};
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
  return mse_loss(prediction, target, cast(batch.weights, exact()));  // [N]
}

}  // namespace imago
