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

TrainingLoss::TrainingLoss(const SchedulerConfig& config, const Options& options)
    : config_(config), options_(options), schedule_(config.noise) {
  if (options.weighting == LossWeighting::kMinSnr && !(options.snr_gamma > 0))
    bad_input("min-SNR gamma: expected more than 0, not ", options.snr_gamma);
}

int TrainingLoss::timestep_of(int64_t sample_id) const {
  const auto T = static_cast<uint32_t>(schedule_.timesteps());
  return static_cast<int>(
      uniform_below(T, options_.seed, random_stream(DiffusionPurpose::kTimesteps), sample_id, 0));
}

float TrainingLoss::weight_of(int t) const {
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

SampleNumbers TrainingLoss::numbers_of(int64_t sample_id) const {
  const int t = timestep_of(sample_id);
  return {t, coefficients_of(schedule_.alpha_bar(t), config_.prediction_type), weight_of(t)};
}

TrainingBatch TrainingLoss::batch(const UNetConfig& model, const Tensor& images,
                                  const std::vector<int64_t>& sample_ids) const {
  std::vector<int> timesteps;
  std::vector<float> coefficients, weights;
  for (const int64_t id : sample_ids) {
    const SampleNumbers numbers = numbers_of(id);
    timesteps.push_back(numbers.timestep);
    coefficients.insert(coefficients.end(), numbers.coefficients.begin(), numbers.coefficients.end());
    weights.push_back(numbers.weight);
  }
  const auto n = static_cast<int64_t>(sample_ids.size());
  const Device device = images.device();
  return {images,
          from_vector(sample_ids, {n}, device),
          timesteps_tensor(model, timesteps, device),
          from_vector(coefficients, {n, 4}, device),
          from_vector(weights, {n}, device),
          {}};
}

Tensor TrainingLoss::operator()(UNet& model, const TrainingBatch& batch) const {
  const Tensor& x0 = batch.images;  // [N,H,W,C]
  check(batch.ids.shape() == Shape{x0.dim(0)}, "training loss: one sample id per image");
  if (model.config().time_embedding_type == "fourier")
    bad_input(
        "time_embedding_type \"fourier\" divides by the time and cannot be trained with DDPM, whose times "
        "include 0");
  const DType exact = options_.activations == DType::kFloat64 ? DType::kFloat64 : DType::kFloat32;
  const RandomKey key{options_.seed, random_stream(DiffusionPurpose::kNoise), batch.ids};
  const Tensor xt = empty(x0.shape(), options_.activations, x0.device());  // [N,H,W,C]
  const Tensor target = empty(x0.shape(), exact, x0.device());             // [N,H,W,C]
  q_sample(x0, batch.coefficients, key, xt, target);
  const Tensor prediction = model.forward(xt, batch.timesteps, batch.class_labels);  // [N,H,W,C]
  return mse_loss(prediction, target, cast(batch.weights, exact));                   // [N]
}

}  // namespace imago
