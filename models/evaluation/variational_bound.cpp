#include "models/evaluation/variational_bound.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <numbers>

#include "engine/autograd/tape.h"
#include "engine/ops/elementwise.h"
#include "kernels/philox.h"
#include "models/diffusion/ops.h"
#include "models/diffusion/streams.h"

namespace imago {
namespace {

double to_unit(uint8_t value) {
  return value / 127.5 - 1;
}

// log of the upper tail of N(0,1), x >= 0. Far out, where erfc is 0 in float64, by the first terms of Mills'
// ratio: exp(-x^2/2) / (x sqrt(2 pi)) (1 - 1/x^2).
double log_upper_tail(double x) {
  constexpr double kFar = 30;
  if (x < kFar) return std::log(std::erfc(x / std::numbers::sqrt2) / 2);
  return -x * x / 2 - std::log(x * std::sqrt(2 * std::numbers::pi)) + std::log1p(-1 / (x * x));
}

// log (Phi(b) - Phi(a)), a < b, either without end.
double log_probability(double a, double b) {
  if (b <= 0) std::swap(a, b), a = -a, b = -b;  // by symmetry
  if (a <= 0) return std::log((std::erf(b / std::numbers::sqrt2) - std::erf(a / std::numbers::sqrt2)) / 2);
  const double log_a = log_upper_tail(a);
  return std::isinf(b) ? log_a : log_a + std::log1p(-std::exp(log_upper_tail(b) - log_a));
}

bool learns_variance(const SchedulerConfig& c) {
  return c.variance_type == "learned" || c.variance_type == "learned_range";
}

}  // namespace

double decoder_nats(int value, double mean, double log_variance) {
  constexpr double kEndless = std::numeric_limits<double>::infinity();
  const double x = value / 127.5 - 1, deviation = std::exp(log_variance / 2);
  const double a = value == 0 ? -kEndless : (x - 1 / 255.0 - mean) / deviation;
  const double b = value == 255 ? kEndless : (x + 1 / 255.0 - mean) / deviation;
  return -log_probability(a, b);
}

VariationalBound::VariationalBound(const SchedulerConfig& scheduler, const Options& options)
    : scheduler_(scheduler), options_(options), schedule_(scheduler.noise) {
  if (!has_betas(scheduler.kind))
    bad_input(
        "bits per dimension: ", name_of(scheduler.kind),
        " has no variational bound of this form, which is one of DDPM's chain; look at the loss by time");
  if (scheduler.thresholding) bad_input("bits per dimension: dynamic thresholding is not supported");
  const int T = schedule_.timesteps(), looked_at = options.timesteps == 0 ? T : options.timesteps;
  if (looked_at < std::min(T, 2) || looked_at > T)
    bad_input("bits per dimension: timesteps: expected 2 to ", T, ", not ", looked_at);
  if (schedule_.alpha_bar(T - 1) == 0 && scheduler.prediction_type == PredictionType::kEpsilon)
    bad_input("bits per dimension: no signal is left at the last timestep, and epsilon says nothing there");
  sums_.resize(static_cast<size_t>(T));
  strata_.push_back({0, 1});
  const int count = looked_at - 1;
  for (int s = 1, begin = 1; s <= count; ++s) {
    const auto wanted = static_cast<int>(std::lround(std::pow(T, static_cast<double>(s) / count)));
    const int end = std::clamp(wanted, begin + 1, T - (count - s));  // one time at least for each to come
    strata_.push_back({begin, end - begin});
    begin = end;
  }
}

void VariationalBound::check_model(const UNetConfig& model) const {
  const bool twice = model.out_channels == 2 * model.in_channels;
  if (learns_variance(scheduler_) && !twice)
    bad_input("bits per dimension: variance_type ", scheduler_.variance_type, " needs a model with ",
              2 * model.in_channels, " output channels, not ", model.out_channels);
  if (!twice && model.out_channels != model.in_channels)
    bad_input("bits per dimension: a model with ", model.in_channels, " channels in and ", model.out_channels,
              " out");
}

// With a = ab_t / ab_(t-1) and b = 1 - a: q has mean sqrt(ab_(t-1)) b / (1 - ab_t) x_0 + .. and variance (1 -
// ab_(t-1)) / (1 - ab_t) b (Ho 2020, equation 7).
VariationalBound::Numbers VariationalBound::numbers_of(int t) const {
  const auto small = [this](int time) {
    const double ab = schedule_.alpha_bar(time), before = schedule_.alpha_bar(time - 1);
    return (1 - before) / (1 - ab) * (1 - ab / before);
  };
  const double ab = schedule_.alpha_bar(t), before = t == 0 ? 1 : schedule_.alpha_bar(t - 1);
  const double b = 1 - ab / before;
  Numbers n{};
  n.alpha = std::sqrt(ab);
  n.sigma = std::sqrt(1 - ab);
  switch (scheduler_.prediction_type) {
    case PredictionType::kEpsilon: n.x0_x = 1 / n.alpha, n.x0_m = -n.sigma / n.alpha; break;
    case PredictionType::kSample: n.x0_x = 0, n.x0_m = 1; break;
    case PredictionType::kVPrediction: n.x0_x = n.alpha, n.x0_m = -n.sigma; break;
  }
  n.mean_x0 = std::sqrt(before) * b / (1 - ab);
  const double least = schedule_.timesteps() == 1 ? b : small(std::max(t, 1));
  n.q_log = std::log(least);
  n.min_log = scheduler_.variance_type.starts_with("fixed_large") ? std::log(b) : n.q_log;
  n.max_log = std::log(b);
  return n;
}

// Nichol & Dhariwal 2021, equation 15, where the model says the variance.
double VariationalBound::log_variance(const Numbers& n, double output) const {
  if (scheduler_.variance_type == "learned") return std::log(std::max(output, 1e-20));
  const double share = (output + 1) / 2;
  return n.min_log + share * (n.max_log - n.min_log);
}

// KL of normal distributions whose means differ by c (x_0 - x_0'), or the decoder's term.
VariationalBound::Term VariationalBound::term_of(int t, int64_t pixels, int64_t channels, int64_t outputs,
                                                 const uint8_t* image, const float* xt, const float* noise,
                                                 const double* answer) const {
  const Numbers n = numbers_of(t);
  const double range =
      scheduler_.clip_sample ? scheduler_.clip_sample_range : std::numeric_limits<double>::infinity();
  Term sums{0, 0, 0};
  for (int64_t i = 0; i < pixels * channels; ++i) {
    const int64_t pixel = i / channels, channel = i % channels;
    const double* m = answer + pixel * outputs + channel;
    const double x0 = to_unit(image[i]);
    const double predicted = std::clamp(n.x0_x * double{xt[i]} + n.x0_m * m[0], -range, range);
    const double log_var = learns_variance(scheduler_) ? log_variance(n, m[channels]) : n.min_log;
    const double error = x0 - predicted;
    const double epsilon_error = double{noise[i]} - (double{xt[i]} - n.alpha * predicted) / n.sigma;
    const double mean_error = n.mean_x0 * error;
    sums.bits += t == 0 ? decoder_nats(image[i], predicted, log_var)
                        : (log_var - n.q_log - 1 + std::exp(n.q_log - log_var) +
                           mean_error * mean_error * std::exp(-log_var)) /
                              2;
    sums.x0_error += error * error;
    sums.epsilon_error += epsilon_error * epsilon_error;
  }
  const auto dimensions = static_cast<double>(pixels * channels);
  return {sums.bits / dimensions / std::numbers::ln2, sums.x0_error / dimensions,
          sums.epsilon_error / dimensions};
}

void VariationalBound::add_prior(const Tensor& images) {
  const double ab = schedule_.alpha_bar(schedule_.timesteps() - 1);
  const std::vector<uint8_t> pixels = to_vector<uint8_t>(images);
  const size_t size = pixels.size() / static_cast<size_t>(images.dim(0));
  for (size_t first = 0; first < pixels.size(); first += size) {
    double squares = 0;
    for (size_t i = first; i < first + size; ++i) squares += to_unit(pixels[i]) * to_unit(pixels[i]);
    ImageBound bound;
    bound.prior = (ab * squares / static_cast<double>(size) - ab - std::log1p(-ab)) / 2 / std::numbers::ln2;
    images_.push_back(bound);
  }
}

void VariationalBound::add(UNet& model, const Tensor& images, const std::vector<int64_t>& ids,
                           const Tensor& labels, const std::function<void()>& evaluated) {
  const NoGrad no_grad;
  const Device device = images.device();
  const int64_t count = images.dim(0), channels = images.dim(3), pixels = images.dim(1) * images.dim(2);
  check(static_cast<int64_t>(ids.size()) == count, "bits per dimension: one id an image");
  const size_t before = images_.size();
  add_prior(images);
  const std::vector<uint8_t> x0 = to_vector<uint8_t>(images);  // [N,H,W,C]
  const Tensor id_tensor = from_vector(ids, {count}, device);  // [N]
  for (size_t s = 0; s < strata_.size(); ++s) {
    const auto index = static_cast<uint32_t>(s);
    std::vector<int> times;
    std::vector<float> coefficients;
    for (const int64_t id : ids) {
      const uint32_t stream = random_stream(DiffusionPurpose::kBoundTimes, index);
      const auto drawn = uniform_below(static_cast<uint32_t>(strata_[s].size), options_.seed, stream, id, 0);
      times.push_back(strata_[s].first + static_cast<int>(drawn));
      const Numbers n = numbers_of(times.back());
      coefficients.insert(coefficients.end(),
                          {static_cast<float>(n.alpha), static_cast<float>(n.sigma), 0, 1});
    }
    const Tensor xt = empty(images.shape(), DType::kFloat32, device);  // [N,H,W,C]
    const Tensor e = empty(images.shape(), DType::kFloat32, device);   // [N,H,W,C]
    const RandomKey key{options_.seed, random_stream(DiffusionPurpose::kBoundNoise, index), id_tensor};
    q_sample(images, from_vector(coefficients, {count, 4}, device), key, xt, e);
    const Tensor m = model.forward(cast(xt, options_.activations),
                                   timesteps_tensor(model.config(), times, device), labels);  // [N,H,W,C|2C]
    const std::vector<float> seen = to_vector<float>(xt), noise = to_vector<float>(e);
    const std::vector<double> answers = to_doubles(m);
    std::vector<Term> terms(static_cast<size_t>(count));
#pragma omp parallel for
    for (int64_t n = 0; n < count; ++n) {
      const int64_t at = n * pixels * channels;
      terms[static_cast<size_t>(n)] =
          term_of(times[static_cast<size_t>(n)], pixels, channels, m.dim(3), x0.data() + at, seen.data() + at,
                  noise.data() + at, answers.data() + n * pixels * m.dim(3));
    }
    for (size_t n = 0; n < terms.size(); ++n) {
      ImageBound& bound = images_[before + n];
      (s == 0 ? bound.decoder : bound.steps) += strata_[s].size * terms[n].bits;
      TimestepBound& sums = sums_[static_cast<size_t>(times[n])];
      sums.images += 1;
      sums.bits += terms[n].bits;
      sums.x0_error += terms[n].x0_error;
      sums.epsilon_error += terms[n].epsilon_error;
    }
    evaluated();
  }
}

std::vector<TimestepBound> VariationalBound::timesteps() const {
  std::vector<TimestepBound> means = sums_;
  for (TimestepBound& mean : means) {
    const auto images = static_cast<double>(std::max<int64_t>(mean.images, 1));
    mean.bits /= images;
    mean.x0_error /= images;
    mean.epsilon_error /= images;
  }
  return means;
}

}  // namespace imago
