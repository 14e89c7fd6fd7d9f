// The arithmetic of diffusion itself: noise, the forward process (Ho 2020, eq. 4), the loss and
// the sampler's update.
//
// Images are small next to activations (3 channels), so these kernels are about launches, not bytes:
// each is one. One Philox call gives four elements their numbers, so a thread owns a quad of
// neighbouring elements of one image; which bits an element gets depends on (seed, stream, id, element)
// alone, as everywhere (kernels/philox.h).
#include "kernels/cuda/device/vec.h"
#include "kernels/cuda/runtime/cuda_backend.h"
#include "kernels/philox.h"

namespace imago::IMAGO_CUDA_NAMESPACE {
namespace {

constexpr int kThreads = 256;

/// Images of `elements` elements each, cut into quads that are counted through the batch.
struct Quads {
  int64_t images, elements;

  explicit Quads(const Shape& shape) : images(shape[0]), elements(images ? shape.numel() / images : 0) {}
  __host__ __device__ int64_t per_image() const { return (elements + 3) / 4; }
  LaunchConfig config(const Gpu& gpu) const {
    return {.grid = blocks_for(images * per_image(), kThreads), .block = kThreads, .stream = gpu.stream};
  }
  /// f(n, i, lane) for the up to four elements i of the calling thread's quad of image n.
  template <class Begin, class F>
  __device__ __forceinline__ void for_mine(Begin&& begin, F&& f) const {
    const int64_t thread = static_cast<int64_t>(blockIdx.x) * blockDim.x + threadIdx.x;
    if (thread >= images * per_image()) return;
    const int64_t n = thread / per_image(), quad = thread % per_image();
    begin(n, static_cast<uint32_t>(quad));
    for (int lane = 0; lane < 4 && 4 * quad + lane < elements; ++lane)
      f(n, n * elements + 4 * quad + lane, lane);
  }
};

/// RandomKey on the device.
struct Key {
  uint64_t seed;
  uint32_t stream;
  const int64_t* ids;

  explicit Key(const RandomKey& k) : seed(k.seed), stream(k.stream), ids(k.ids.as<int64_t>()) {}
  __device__ __forceinline__ FloatQuad normals(int64_t n, uint32_t quad) const {
    return normal_quad(seed, stream, ids[n], quad);
  }
};

// ---- y ~ N(0,1) ----

template <class T>
__global__ void __launch_bounds__(kThreads) normal_kernel(const Quads quads, const Key key, T* y) {
  FloatQuad z;
  quads.for_mine([&](int64_t n, uint32_t quad) { z = key.normals(n, quad); },
                 [&](int64_t, int64_t i, int lane) { y[i] = from_float<T>(z[lane]); });
}

// ---- xt = c0 x0 + c1 e, target = c2 x0 + c3 e ----

__device__ __forceinline__ float pixel(uint8_t v) {
  return static_cast<float>(v) / 127.5f - 1.0f;
}
template <class T>
__device__ __forceinline__ float pixel(T v) {
  return to_float(v);
}

template <class X, class T>
__global__ void __launch_bounds__(kThreads) q_sample_kernel(const Quads quads, const Key key, const X* x0,
                                                            const float* coefficients, T* xt, float* target) {
  FloatQuad e;
  const float* c = nullptr;
  quads.for_mine(
      [&](int64_t n, uint32_t quad) {
        e = key.normals(n, quad);
        c = coefficients + 4 * n;
      },
      [&](int64_t, int64_t i, int lane) {
        const float x = pixel(x0[i]);
        xt[i] = from_float<T>(c[0] * x + c[1] * e[lane]);
        target[i] = c[2] * x + c[3] * e[lane];
      });
}

// ---- loss[n] = weight[n] / M sum (prediction - target)^2: one block an image, a tree in shared memory ----

template <class T>
__global__ void __launch_bounds__(kThreads)
    mse_loss_kernel(const T* prediction, const float* target, const float* weight, const int64_t elements,
                    float* loss) {
  IMAGO_SHARED(float, partial, [kThreads]);
  const int64_t n = blockIdx.x;
  const int thread = static_cast<int>(threadIdx.x);
  float sum = 0.0f;
  for (int64_t e = thread; e < elements; e += kThreads) {
    const float difference = to_float(prediction[n * elements + e]) - target[n * elements + e];
    sum += difference * difference;
  }
  partial[thread] = sum;
  __syncthreads();
  for (int half = kThreads / 2; half > 0; half /= 2) {
    if (thread < half) partial[thread] += partial[thread + half];
    __syncthreads();
  }
  if (thread == 0) loss[n] = weight[n] * partial[0] / static_cast<float>(elements);
}

// ---- dprediction = dloss[n] weight[n] 2/M (prediction - target) ----

template <class T>
__global__ void __launch_bounds__(kThreads)
    mse_loss_backward_kernel(const Quads quads, const float* dloss, const T* prediction, const float* target,
                             const float* weight, T* dprediction) {
  float factor = 0.0f;
  quads.for_mine(
      [&](int64_t n, uint32_t) { factor = dloss[n] * weight[n] * 2.0f / static_cast<float>(quads.elements); },
      [&](int64_t, int64_t i, int) {
        dprediction[i] = from_float<T>(factor * (to_float(prediction[i]) - target[i]));
      });
}

// ---- The sampler's update: see SamplerStep ----

/// SamplerTensors on the device.
template <class T>
struct SamplerPointers {
  const float* x;
  const T *m, *unconditional;  // unconditional: null where there is one output
  const float* history[SamplerStep::kHistory];
  const float *limit, *known, *mask;
  float *y, *entry;
  T *input, *second_input;
  Divisor channels;
  bool doubled;  // m has 2C channels

  explicit SamplerPointers(const SamplerTensors& t)
      : x(t.x.as<float>()),
        m(t.m.as<T>()),
        unconditional(t.m.shape[0] == t.x.shape[0] ? nullptr : m + t.m.numel() / 2),
        limit(t.limit.as<float>()),
        known(t.known.as<float>()),
        mask(t.mask.as<float>()),
        y(t.y.as<float>()),
        entry(t.entry.as<float>()),
        input(t.input.as<T>()),
        second_input(t.input && t.input.shape[0] != t.x.shape[0] ? input + t.x.numel() : nullptr),
        channels(t.x.shape[-1]),
        doubled(t.m.shape[-1] != t.x.shape[-1]) {
    for (int j = 0; j < SamplerStep::kHistory; ++j) history[j] = t.history[j].as<float>();
  }
  /// Where element e of image n, element i of the batch, lies in m.
  __device__ __forceinline__ int64_t at(int64_t n, int64_t i, int64_t elements) const {
    if (!doubled) return i;
    int pixel, channel;
    channels.split(static_cast<int>(i - n * elements), pixel, channel);
    return 2 * n * elements + 2 * static_cast<int64_t>(pixel) * channels.value + channel;
  }
  __device__ __forceinline__ float output(int64_t at, float guidance) const {
    const float conditional = to_float(m[at]);
    if (unconditional == nullptr) return conditional;
    const float u = to_float(unconditional[at]);
    return u + guidance * (conditional - u);
  }
};

/// The standard deviation of an update's noise, v the variance that the network predicts.
__device__ __forceinline__ float learned_deviation(const SamplerStep& s, float v) {
  if (s.noise == StepNoise::kLearned) return sqrtf(v);
  const float f = (v + 1.0f) / 2.0f;
  return expf(0.5f * (f * s.max_log + (1.0f - f) * s.min_log));
}

__device__ __forceinline__ float clamp(float x, float limit) {  // keeps NaN, unlike fminf
  return x < -limit ? -limit : x > limit ? limit : x;
}

template <class T>
__global__ void __launch_bounds__(kThreads)
    sampler_step_kernel(const Quads quads, const Key key, const SamplerStep s, const SamplerPointers<T> p) {
  FloatQuad z = {0.0f, 0.0f, 0.0f, 0.0f};
  const bool learned = s.noise != StepNoise::kFixed;
  quads.for_mine(
      [&](int64_t n, uint32_t quad) {
        if (s.sigma != 0.0f || s.known_noise != 0.0f || learned) z = key.normals(n, quad);
      },
      [&](int64_t n, int64_t i, int lane) {
        const int64_t at = p.at(n, i, quads.elements);
        const float xi = p.x[i], mi = p.output(at, s.guidance);
        float x0 = s.x0_x * xi + s.x0_m * mi;
        if (s.clip > 0.0f) x0 = clamp(x0, s.clip);
        if (p.limit != nullptr) x0 = clamp(x0, p.limit[n]) / p.limit[n];
        float y = s.y_x * xi + s.y_m * mi + s.y_x0 * x0;
#pragma unroll
        for (int j = 0; j < SamplerStep::kHistory; ++j)
          if (p.history[j] != nullptr) y += s.y_h[j] * p.history[j][i];
        y += (learned ? learned_deviation(s, to_float(p.m[at + p.channels.value])) : s.sigma) * z[lane];
        if (p.known != nullptr) {
          const float known = s.known_signal * p.known[i] + s.known_noise * z[lane];
          y = p.mask[i] * known + (1.0f - p.mask[i]) * y;
        }
        if (p.entry != nullptr) p.entry[i] = s.entry_x * xi + s.entry_m * mi + s.entry_x0 * x0;
        p.y[i] = y;
        if (p.input != nullptr) p.input[i] = from_float<T>(s.input_scale * y);
        if (p.second_input != nullptr) p.second_input[i] = from_float<T>(s.input_scale * y);
      });
}

}  // namespace

void CudaBackend::normal(const RandomKey& key, TensorRef y) {
  const Quads quads(y.shape);
  if (y.numel() == 0) return;
  dispatch_float(y.dtype, "normal", [&](auto t) {
    launch(normal_kernel<decltype(t)>, quads.config(gpu_), quads, Key(key), y.as<decltype(t)>());
  });
}

void CudaBackend::q_sample(ConstTensorRef x0, ConstTensorRef coefficients, const RandomKey& key, TensorRef xt,
                           TensorRef target) {
  const Quads quads(xt.shape);
  if (xt.numel() == 0) return;
  dispatch_float(xt.dtype, "q_sample", [&](auto t) {
    using T = decltype(t);
    const auto run = [&](auto from) {
      using X = decltype(from);
      launch(q_sample_kernel<X, T>, quads.config(gpu_), quads, Key(key), x0.as<X>(), coefficients.as<float>(),
             xt.as<T>(), target.as<float>());
    };
    x0.dtype == DType::kUInt8 ? run(uint8_t()) : dispatch_float(x0.dtype, "q_sample", run);
  });
}

void CudaBackend::mse_loss(ConstTensorRef prediction, ConstTensorRef target, ConstTensorRef weight,
                           TensorRef loss) {
  const int64_t images = prediction.shape[0];
  if (images == 0) return;
  dispatch_float(prediction.dtype, "mse_loss", [&](auto t) {
    using T = decltype(t);
    launch(mse_loss_kernel<T>, {.grid = blocks_for(images, 1), .block = kThreads, .stream = gpu_.stream},
           prediction.as<T>(), target.as<float>(), weight.as<float>(), prediction.numel() / images,
           loss.as<float>());
  });
}

void CudaBackend::mse_loss_backward(ConstTensorRef dloss, ConstTensorRef prediction, ConstTensorRef target,
                                    ConstTensorRef weight, TensorRef dprediction) {
  const Quads quads(prediction.shape);
  if (prediction.numel() == 0) return;
  dispatch_float(prediction.dtype, "mse_loss_backward", [&](auto t) {
    using T = decltype(t);
    launch(mse_loss_backward_kernel<T>, quads.config(gpu_), quads, dloss.as<float>(), prediction.as<T>(),
           target.as<float>(), weight.as<float>(), dprediction.as<T>());
  });
}

void CudaBackend::sampler_step(const SamplerTensors& tensors, const SamplerStep& step, const RandomKey& key) {
  const Quads quads(tensors.x.shape);
  if (tensors.x.numel() == 0) return;
  dispatch_float(tensors.m.dtype, "sampler_step", [&](auto t) {
    using T = decltype(t);
    launch(sampler_step_kernel<T>, quads.config(gpu_), quads, Key(key), step, SamplerPointers<T>(tensors));
  });
}

}  // namespace imago::IMAGO_CUDA_NAMESPACE
