#include "models/evaluation/loss_by_time.h"

#include <algorithm>

#include "engine/autograd/tape.h"

namespace imago {
namespace {

// Times in the type that the model wants: whole where its embedding is a table.
Tensor times_tensor(const UNetConfig& config, const std::vector<float>& times, Device device) {
  if (timestep_type(config) == DType::kInt32)
    return timesteps_tensor(config, std::vector<int>(times.begin(), times.end()), device);
  return from_vector(times, {static_cast<int64_t>(times.size())}, device);
}

}  // namespace

LossByTime::LossByTime(const SchedulerConfig& scheduler, uint64_t seed, DType activations)
    : scheduler_(scheduler), objective_(scheduler, {.seed = seed, .activations = activations}) {}

std::string LossByTime::time_name() const {
  if (has_betas(scheduler_.kind)) return "timestep";
  return is_flow(scheduler_.kind) ? "noise share" : "ln sigma";
}

void LossByTime::add(UNet& model, const Tensor& images, const std::vector<int64_t>& ids,
                     const Tensor& labels) {
  const NoGrad no_grad;
  objective_.check_model(model.config());
  const int64_t count = images.dim(0), channels = images.dim(3), pixels = images.numel() / count / channels;
  const Device device = images.device();
  std::vector<float> times, coefficients;
  for (const int64_t id : ids) {
    const SampleNumbers numbers = objective_.numbers_of(id);
    times.push_back(numbers.time);
    coefficients.insert(coefficients.end(), numbers.coefficients.begin(), numbers.coefficients.end());
  }
  MicroBatch batch;
  batch.images = images;
  batch.ids = from_vector(ids, {count}, device);
  batch.timesteps = times_tensor(model.config(), times, device);
  batch.coefficients = from_vector(coefficients, {count, 4}, device);
  const auto [xt, target] = objective_.noised(batch);                    // [N,H,W,C] each
  const Tensor prediction = model.forward(xt, batch.timesteps, labels);  // [N,H,W,C | 2C]
  const std::vector<double> said = to_doubles(prediction), wanted = to_doubles(target);
  const int64_t outputs = prediction.dim(3);
  for (int64_t n = 0; n < count; ++n) {
    double squares = 0;
    for (int64_t p = n * pixels; p < (n + 1) * pixels; ++p)
      for (int64_t c = 0; c < channels; ++c) {
        const double error =
            said[static_cast<size_t>(p * outputs + c)] - wanted[static_cast<size_t>(p * channels + c)];
        squares += error * error;
      }
    const double T = scheduler_.noise.num_train_timesteps, time = times[static_cast<size_t>(n)];
    const double shown = has_betas(scheduler_.kind) ? time : is_flow(scheduler_.kind) ? time / T : 4 * time;
    draws_.push_back({shown, squares / static_cast<double>(pixels * channels)});
  }
}

double LossByTime::mean() const {
  double sum = 0;
  for (const Draw& draw : draws_) sum += draw.loss;
  return sum / static_cast<double>(draws_.size());
}

std::vector<LossBin> LossByTime::bins(int count) const {
  std::vector<Draw> sorted = draws_;
  std::stable_sort(sorted.begin(), sorted.end(),
                   [](const Draw& a, const Draw& b) { return a.time < b.time; });
  const size_t n = sorted.size(), bins = std::min(n, static_cast<size_t>(count));
  std::vector<LossBin> found;
  for (size_t b = 0; b < bins; ++b) {
    const size_t begin = b * n / bins, end = (b + 1) * n / bins;
    double sum = 0;
    for (size_t i = begin; i < end; ++i) sum += sorted[i].loss;
    const auto draws = static_cast<int64_t>(end - begin);
    found.push_back({sorted[begin].time, sorted[end - 1].time, sum / static_cast<double>(draws), draws});
  }
  return found;
}

}  // namespace imago
