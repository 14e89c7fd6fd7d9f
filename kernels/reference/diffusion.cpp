// The arithmetic of diffusion itself: noise, the forward process, the loss and the sampler's update.
#include <algorithm>
#include <cmath>
#include <limits>
#include <numbers>

#include "kernels/philox.h"
#include "kernels/reference/reference_backend.h"
#include "kernels/reference/types.h"

namespace imago {

using namespace reference;

namespace {

/// f(n, i, z) for every element i of a batch, where z ~ N(0,1) is the number that `key` gives element e = i -
/// n M of image n. M elements an image.
template <class F>
void for_each_with_noise(const RandomKey& key, const Shape& shape, F&& f) {
  const int64_t images = shape[0], elements = images ? shape.numel() / images : 0;
  for (int64_t n = 0; n < images; ++n) {
    const int64_t id = key.ids.as<int64_t>()[n];
    for (int64_t e = 0; e < elements; ++e) {
      f(n, n * elements + e, static_cast<double>(normal_at(key.seed, key.stream, id, e)));
    }
  }
}

/// A pixel in [-1,1]: bytes are scaled, floats are taken as they are.
double pixel(uint8_t v) {
  return v / 127.5 - 1;
}
template <class T>
double pixel(T v) {
  return v;
}

// xt = c0 x0 + c1 e,  target = c2 x0 + c3 e  (Ho 2020, eq. 4, with c0 = sqrt(alpha_bar), c1 = sqrt(1 -
// alpha_bar); c2 and c3 choose between predicting e, x0 and v, Salimans 2022)
template <class X, class T>
void q_sample_images(const X* x0, ConstTensorRef coefficients, const RandomKey& key, const Shape& shape,
                     T* xt, VectorOf<T>* target) {
  for_each_with_noise(key, shape, [&](int64_t n, int64_t i, double e) {
    auto c = [&](int64_t which) { return number_at(coefficients, 4 * n + which); };
    xt[i] = static_cast<T>(c(0) * pixel(x0[i]) + c(1) * e);
    target[i] = static_cast<VectorOf<T>>(c(2) * pixel(x0[i]) + c(3) * e);
  });
}

/// The network's output as an update sees it: guided, and the variance behind it. i counts through x.
template <class T>
struct NetworkOutput {
  const T* m;
  int64_t channels, stride;  // of x and of m
  int64_t unconditional;     // elements from m_c to m_u; 0: there is only one output
  double guidance;

  NetworkOutput(const SamplerTensors& t, double guidance)
      : m(t.m.as<T>()),
        channels(t.x.shape[-1]),
        stride(t.m.shape[-1]),
        unconditional(t.m.shape[0] == t.x.shape[0] ? 0 : t.m.numel() / 2),
        guidance(guidance) {}
  int64_t at(int64_t i) const { return i / channels * stride + i % channels; }
  double output(int64_t i) const {
    const double conditional = m[at(i)];
    if (unconditional == 0) return conditional;
    const double u = m[at(i) + unconditional];
    return u + guidance * (conditional - u);
  }
  double variance(int64_t i) const { return m[at(i) + channels]; }
};

/// The standard deviation of an update's noise.
template <class T>
double deviation(const SamplerStep& s, const NetworkOutput<T>& network, int64_t i) {
  switch (s.noise) {
    case StepNoise::kFixed: return s.sigma;
    case StepNoise::kLearned: return std::sqrt(network.variance(i));
    case StepNoise::kLearnedRange: break;
  }
  const double f = (network.variance(i) + 1) / 2;
  return std::exp((f * s.max_log + (1 - f) * s.min_log) / 2);
}

template <class T>
void sampler_update(const SamplerTensors& t, const SamplerStep& s, const RandomKey& key) {
  using V = VectorOf<T>;
  const NetworkOutput<T> network(t, s.guidance);
  for_each_with_noise(key, t.x.shape, [&](int64_t n, int64_t i, double z) {
    const double x = t.x.as<V>()[i], m = network.output(i);
    double x0 = static_cast<double>(s.x0_x) * x + static_cast<double>(s.x0_m) * m;
    if (s.clip > 0) x0 = std::clamp(x0, -static_cast<double>(s.clip), static_cast<double>(s.clip));
    if (t.limit) {
      const double limit = t.limit.as<V>()[n];
      x0 = std::clamp(x0, -limit, limit) / limit;
    }
    double y = static_cast<double>(s.y_x) * x + static_cast<double>(s.y_m) * m + s.y_x0 * x0;
    for (int j = 0; j < SamplerStep::kHistory; ++j)
      if (t.history[j]) y += static_cast<double>(s.y_h[j]) * t.history[j].as<V>()[i];
    y += deviation(s, network, i) * z;
    if (t.known) {
      const double known = s.known_signal * static_cast<double>(t.known.as<V>()[i]) + s.known_noise * z;
      const double mask = t.mask.as<V>()[i];
      y = mask * known + (1 - mask) * y;
    }
    if (t.entry) t.entry.as<V>()[i] = static_cast<V>(s.entry_x * x + s.entry_m * m + s.entry_x0 * x0);
    t.y.as<V>()[i] = static_cast<V>(y);
    if (!t.input) return;
    const T input = static_cast<T>(static_cast<V>(s.input_scale * static_cast<double>(t.y.as<V>()[i])));
    for (int64_t at = i; at < t.input.numel(); at += t.x.numel()) t.input.as<T>()[at] = input;
  });
}

/// P(y < z) of y ~ N(0,1), and the density at z, times z.
double normal_below(double z) {
  return std::erfc(-z / std::sqrt(2.0)) / 2;
}
double normal_moment(double z) {
  return std::isinf(z) ? 0 : z * std::exp(-z * z / 2) / std::sqrt(2 * std::numbers::pi);
}

/// A term of the variational bound, and its derivative with respect to the log variance.
struct BoundTerm {
  double value, by_log_variance;
};

/// A pixel's ends are a and b standard deviations above the mean, and da/dl = -a/2.
BoundTerm decoder_term(double x0, double e, double l) {
  constexpr double kInfinity = std::numeric_limits<double>::infinity();
  const double sigma = std::exp(l / 2);
  const double a = x0 < -0.999 ? -kInfinity : (-1.0 / 255 - e) / sigma;
  const double b = x0 > 0.999 ? kInfinity : (1.0 / 255 - e) / sigma;
  const double p = a > 0 ? normal_below(-a) - normal_below(-b) : normal_below(b) - normal_below(a);
  if (p < 1e-12) return {-std::log(1e-12), 0};
  return {-std::log(p), (normal_moment(b) - normal_moment(a)) / 2 / p};
}

/// What a model that learns its variance says of the pixels, beside what it should say. i counts through the
/// target.
template <class T, class X>
struct PredictedPixels {
  const HybridLossInputs& in;
  const X* x0;
  int64_t images = in.target.shape[0], elements = in.target.numel() / images, channels = in.target.shape[-1];

  /// Where m of element i lies in the prediction; o is `channels` behind it.
  int64_t at(int64_t i) const { return i / channels * 2 * channels + i % channels; }
  double error(int64_t i) const {
    return in.prediction.as<T>()[at(i)] - static_cast<double>(in.target.as<VectorOf<T>>()[i]);
  }
  BoundTerm bound(int64_t n, int64_t i) const {
    const auto number = [&](int64_t which) { return number_at(in.bound, 4 * n + which); };
    const double min_log = number(1), max_log = number(2);
    const double f = (static_cast<double>(in.prediction.as<T>()[at(i) + channels]) + 1) / 2;
    const double l = f * max_log + (1 - f) * min_log, e = number(0) * error(i);
    if (number(3) == 1) return decoder_term(pixel(x0[i]), e, l);
    const double spread = std::exp(min_log - l) + e * e * std::exp(-l);
    return {(l - min_log + spread - 1) / 2, (1 - spread) / 2};
  }
};

/// f.operator()<T>(PredictedPixels<T, ...>) with T the type of the prediction.
template <class F>
void with_predicted_pixels(const HybridLossInputs& in, F&& f) {
  dispatch("hybrid_loss", in.prediction.dtype, [&]<class T>() {
    dispatch_any("hybrid_loss", in.x0.dtype, [&]<class X>() {
      f.template operator()<T>(PredictedPixels<T, X>{in, in.x0.as<X>()});
    });
  });
}

}  // namespace

void ReferenceBackend::normal(const RandomKey& key, TensorRef y) {
  dispatch("normal", y.dtype, [&]<class T>() {
    for_each_with_noise(key, y.shape,
                        [&](int64_t, int64_t i, double z) { y.as<T>()[i] = static_cast<T>(z); });
  });
}

void ReferenceBackend::q_sample(ConstTensorRef x0, ConstTensorRef coefficients, const RandomKey& key,
                                TensorRef xt, TensorRef target) {
  dispatch_any("q_sample", x0.dtype, [&]<class X>() {
    dispatch("q_sample", xt.dtype, [&]<class T>() {
      q_sample_images(x0.as<X>(), coefficients, key, x0.shape, xt.as<T>(), target.as<VectorOf<T>>());
    });
  });
}

// loss[n] = weight[n] / M * sum_i (prediction_i - target_i)^2
void ReferenceBackend::mse_loss(ConstTensorRef prediction, ConstTensorRef target, ConstTensorRef weight,
                                TensorRef loss) {
  const int64_t images = prediction.shape[0], elements = prediction.numel() / images;
  dispatch("mse_loss", prediction.dtype, [&]<class T>() {
    using V = VectorOf<T>;
    for (int64_t n = 0; n < images; ++n) {
      double sum = 0;
      for (int64_t i = n * elements; i < (n + 1) * elements; ++i) {
        const double difference = prediction.as<T>()[i] - static_cast<double>(target.as<V>()[i]);
        sum += difference * difference;
      }
      loss.as<V>()[n] = static_cast<V>(weight.as<V>()[n] * sum / static_cast<double>(elements));
    }
  });
}

// dprediction_i = dloss[n] weight[n] 2/M (prediction_i - target_i)
void ReferenceBackend::mse_loss_backward(ConstTensorRef dloss, ConstTensorRef prediction,
                                         ConstTensorRef target, ConstTensorRef weight,
                                         TensorRef dprediction) {
  const int64_t images = prediction.shape[0], elements = prediction.numel() / images;
  dispatch("mse_loss_backward", prediction.dtype, [&]<class T>() {
    using V = VectorOf<T>;
    for (int64_t n = 0; n < images; ++n) {
      const double factor =
          static_cast<double>(dloss.as<V>()[n]) * weight.as<V>()[n] * 2 / static_cast<double>(elements);
      for (int64_t i = n * elements; i < (n + 1) * elements; ++i) {
        const double difference = prediction.as<T>()[i] - static_cast<double>(target.as<V>()[i]);
        dprediction.as<T>()[i] = static_cast<T>(factor * difference);
      }
    }
  });
}

void ReferenceBackend::hybrid_loss(const HybridLossInputs& in, TensorRef loss) {
  with_predicted_pixels(in, [&]<class T>(const auto& pixels) {
    for (int64_t n = 0; n < pixels.images; ++n) {
      double errors = 0, bounds = 0;
      for (int64_t i = n * pixels.elements; i < (n + 1) * pixels.elements; ++i) {
        errors += pixels.error(i) * pixels.error(i);
        bounds += pixels.bound(n, i).value;
      }
      const double sum = number_at(in.weight, n) * errors + in.lambda * bounds;
      loss.as<VectorOf<T>>()[n] = static_cast<VectorOf<T>>(sum / static_cast<double>(pixels.elements));
    }
  });
}

void ReferenceBackend::hybrid_loss_backward(ConstTensorRef dloss, const HybridLossInputs& in,
                                            TensorRef dprediction) {
  with_predicted_pixels(in, [&]<class T>(const auto& pixels) {
    for (int64_t n = 0; n < pixels.images; ++n) {
      const double each = number_at(dloss, n) / static_cast<double>(pixels.elements);
      const double spread = number_at(in.bound, 4 * n + 2) - number_at(in.bound, 4 * n + 1);
      for (int64_t i = n * pixels.elements; i < (n + 1) * pixels.elements; ++i) {
        T* d = dprediction.as<T>() + pixels.at(i);
        d[0] = static_cast<T>(each * number_at(in.weight, n) * 2 * pixels.error(i));
        d[pixels.channels] =
            static_cast<T>(each * in.lambda * pixels.bound(n, i).by_log_variance * spread / 2);
      }
    }
  });
}

void ReferenceBackend::sampler_step(const SamplerTensors& tensors, const SamplerStep& step,
                                    const RandomKey& key) {
  dispatch("sampler_step", tensors.m.dtype, [&]<class T>() { sampler_update<T>(tensors, step, key); });
}

}  // namespace imago
