// The arithmetic of diffusion itself: noise, the forward process, the loss and the sampler's update.
#include <algorithm>
#include <cmath>

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

void ReferenceBackend::sampler_step(const SamplerTensors& tensors, const SamplerStep& step,
                                    const RandomKey& key) {
  dispatch("sampler_step", tensors.m.dtype, [&]<class T>() { sampler_update<T>(tensors, step, key); });
}

}  // namespace imago
