// The arithmetic of diffusion itself: noise, the forward process, the loss and the sampler's update.
//
// Each works on blocks of one image: the block's random numbers are made in a buffer in cache
// (random_block.h) and used at once, so noise never travels through memory. x0, noise and x_t are float32
// whatever the type of the activations: bfloat16 would round sqrt(alpha_bar) to 1 for the first timesteps.
#include <cmath>

#include "kernels/cpu/cpu_backend.h"
#include "kernels/cpu/parallel.h"
#include "kernels/cpu/random_block.h"

namespace imago {

using namespace cpu;

namespace {

/// Pixels in [-1,1]: bytes are scaled, floats are taken as they are.
Vec load_pixels(const uint8_t* p, int64_t lanes) {
  float f[kLanes] = {};
  for (int64_t i = 0; i < lanes; ++i) f[i] = static_cast<float>(p[i]) / 127.5f - 1.0f;
  return load(f);
}
template <class T>
Vec load_pixels(const T* p, int64_t lanes) {
  return load_up_to(p, lanes);
}

// x_t = c0 x0 + c1 e,  target = c2 x0 + c3 e
// (Ho 2020, eq. 4: c0 = sqrt(alpha_bar), c1 = sqrt(1 - alpha_bar))
template <class X, class T>
void q_sample_images(const X* x0, const float* coefficients, const RandomKey& key, const Shape& shape, T* xt,
                     float* target) {
  const int64_t images = shape[0], elements = images ? shape.numel() / images : 0;
  for_each_random_block<Distribution::kNormal>(
      key, images, elements, [=](int64_t n, int64_t first, int64_t count, const float* noise) {
        const float* c = coefficients + 4 * n;
        vector_loop(0, count, [&](int64_t i, int64_t lanes) {
          const Vec x = load_pixels(x0 + first + i, lanes), e = load(noise + i);
          store_up_to(xt + first + i, c[0] * x + c[1] * e, lanes);
          store_up_to(target + first + i, c[2] * x + c[3] * e, lanes);
        });
      });
}

/// sum_i (a_i - b_i)^2 over one image, in blocks whose sums are added in float64.
template <class T>
double squared_distance(const T* a, const float* b, int64_t elements) {
  double sum = 0;
  for (int64_t first = 0; first < elements; first += kGrain) {
    Vec block = {};
    vector_loop(first, std::min(elements, first + kGrain), [&](int64_t i, int64_t lanes) {
      const Vec difference = load_up_to(a + i, lanes) - load_up_to(b + i, lanes);
      block += difference * difference;
    });
    sum += sum_of(block);
  }
  return sum;
}

/// The network's output as an update sees it: guided, and the variance behind it. i counts through x.
template <class T>
struct NetworkOutput {
  const T* m;
  int64_t channels, stride;  // of x and of m
  int64_t unconditional;     // elements from m_c to m_u; 0: there is only one output
  float guidance;

  NetworkOutput(const SamplerTensors& t, float guidance)
      : m(t.m.as<T>()),
        channels(t.x.shape[-1]),
        stride(t.m.shape[-1]),
        unconditional(t.m.shape[0] == t.x.shape[0] ? 0 : t.m.numel() / 2),
        guidance(guidance) {}
  Vec output(int64_t i, int64_t lanes) const {
    const Vec conditional = take(m, i, lanes);
    if (unconditional == 0) return conditional;
    const Vec u = take(m + unconditional, i, lanes);
    return u + guidance * (conditional - u);
  }
  Vec variance(int64_t i, int64_t lanes) const { return take(m + channels, i, lanes); }

 private:
  Vec take(const T* from, int64_t i, int64_t lanes) const {
    if (stride == channels) return load_up_to(from + i, lanes);
    T near[kLanes] = {};
    for (int64_t k = 0; k < lanes; ++k) near[k] = from[(i + k) / channels * stride + (i + k) % channels];
    return load(near);
  }
};

Vec clamp(Vec x, Vec limit) {  // NaN stays NaN
  x = x > limit ? limit : x;
  return x < -limit ? -limit : x;
}

/// The standard deviation of an update's noise.
template <class T>
Vec deviation(const SamplerStep& s, const NetworkOutput<T>& network, int64_t i, int64_t lanes) {
  if (s.noise == StepNoise::kFixed) return splat(s.sigma);
  float v[kLanes];
  store(v, network.variance(i, lanes));
  for (float& each : v) {
    const float f = (each + 1) / 2;
    each = s.noise == StepNoise::kLearned ? std::sqrt(each)
                                          : std::exp(0.5f * (f * s.max_log + (1 - f) * s.min_log));
  }
  return load(v);
}

template <class T>
void sampler_update(const SamplerTensors& t, const SamplerStep& s, const RandomKey& key) {
  const int64_t images = t.x.shape[0], elements = images ? t.x.numel() / images : 0;
  const NetworkOutput<T> network(t, s.guidance);
  for_each_random_block<Distribution::kNormal>(
      key, images, elements, [&](int64_t n, int64_t first, int64_t count, const float* noise) {
        vector_loop(first, first + count, [&](int64_t i, int64_t lanes) {
          const Vec x = load_up_to(t.x.as<float>() + i, lanes), m = network.output(i, lanes);
          const Vec z = load(noise + i - first);
          Vec x0 = s.x0_x * x + s.x0_m * m;
          if (s.clip > 0) x0 = clamp(x0, splat(s.clip));
          if (t.limit) {
            const Vec limit = splat(t.limit.as<float>()[n]);
            x0 = clamp(x0, limit) / limit;
          }
          Vec y = s.y_x * x + s.y_m * m + s.y_x0 * x0;
          for (int j = 0; j < SamplerStep::kHistory; ++j)
            if (t.history[j]) y += s.y_h[j] * load_up_to(t.history[j].as<float>() + i, lanes);
          y += deviation(s, network, i, lanes) * z;
          if (t.known) {
            const Vec known = s.known_signal * load_up_to(t.known.as<float>() + i, lanes) + s.known_noise * z;
            const Vec mask = load_up_to(t.mask.as<float>() + i, lanes);
            y = mask * known + (1.0f - mask) * y;
          }
          if (t.entry)
            store_up_to(t.entry.as<float>() + i, s.entry_x * x + s.entry_m * m + s.entry_x0 * x0, lanes);
          store_up_to(t.y.as<float>() + i, y, lanes);
          if (!t.input) return;
          for (int64_t at = i; at < t.input.numel(); at += t.x.numel())
            store_up_to(t.input.as<T>() + at, s.input_scale * y, lanes);
        });
      });
}

}  // namespace

void CpuBackend::normal(const RandomKey& key, TensorRef y) {
  const int64_t images = y.shape[0], elements = images ? y.numel() / images : 0;
  dispatch("normal", y.dtype, [&]<class T>() {
    T* out = y.as<T>();
    for_each_random_block<Distribution::kNormal>(
        key, images, elements, [=](int64_t, int64_t first, int64_t count, const float* noise) {
          vector_loop(0, count, [&](int64_t i, int64_t lanes) {
            store_up_to(out + first + i, load(noise + i), lanes);
          });
        });
  });
}

void CpuBackend::q_sample(ConstTensorRef x0, ConstTensorRef coefficients, const RandomKey& key, TensorRef xt,
                          TensorRef target) {
  dispatch("q_sample", xt.dtype, [&]<class T>() {
    auto run = [&]<class X>() {
      q_sample_images(x0.as<X>(), coefficients.as<float>(), key, x0.shape, xt.as<T>(), target.as<float>());
    };
    if (x0.dtype == DType::kUInt8) {
      run.template operator()<uint8_t>();
    } else {
      dispatch("q_sample", x0.dtype, run);
    }
  });
}

// loss[n] = weight[n] / M * sum_i (prediction_i - target_i)^2
void CpuBackend::mse_loss(ConstTensorRef prediction, ConstTensorRef target, ConstTensorRef weight,
                          TensorRef loss) {
  const int64_t images = prediction.shape[0], elements = images ? prediction.numel() / images : 0;
  dispatch("mse_loss", prediction.dtype, [&]<class T>() {
    parallel_items(images, [&](int64_t n) {
      const double sum =
          squared_distance(prediction.as<T>() + n * elements, target.as<float>() + n * elements, elements);
      loss.as<float>()[n] = static_cast<float>(weight.as<float>()[n] * sum / static_cast<double>(elements));
    });
  });
}

// dprediction_i = dloss[n] weight[n] 2/M (prediction_i - target_i)
void CpuBackend::mse_loss_backward(ConstTensorRef dloss, ConstTensorRef prediction, ConstTensorRef target,
                                   ConstTensorRef weight, TensorRef dprediction) {
  const int64_t images = prediction.shape[0], elements = images ? prediction.numel() / images : 0;
  dispatch("mse_loss_backward", prediction.dtype, [&]<class T>() {
    parallel_items(images, [&](int64_t n) {
      const double factor = static_cast<double>(dloss.as<float>()[n]) * weight.as<float>()[n] * 2 /
                            static_cast<double>(elements);
      const Vec f = splat(static_cast<float>(factor));
      const T* p = prediction.as<T>();
      const float* t = target.as<float>();
      T* d = dprediction.as<T>();
      vector_loop(n * elements, (n + 1) * elements, [&](int64_t i, int64_t lanes) {
        store_up_to(d + i, f * (load_up_to(p + i, lanes) - load_up_to(t + i, lanes)), lanes);
      });
    });
  });
}

void CpuBackend::sampler_step(const SamplerTensors& tensors, const SamplerStep& step, const RandomKey& key) {
  dispatch("sampler_step", tensors.m.dtype, [&]<class T>() { sampler_update<T>(tensors, step, key); });
}

}  // namespace imago
