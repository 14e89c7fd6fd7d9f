// The loss of a model that learns its variance (Nichol & Dhariwal 2021): a squared error and lambda times a
// term b of the variational bound, and the gradient in which b does not reach m. See Backend::hybrid_loss.
//
// prediction [N,...,2C] float32 or bfloat16: m, and o behind its C channels; target [N,...,C] float32; x0
// [N,...,C] bytes or floats; weight and loss [N], bound [N,4] float32.
//
// The idea: images are small next to activations, so a block has an image, and sums are a tree in shared
// memory, as in mse_loss. A step has one timestep an image, so a block takes one of b's two forms as a whole.
#include "kernels/bound_terms.h"
#include "kernels/cuda/device/vec.h"
#include "kernels/cuda/runtime/cuda_backend.h"

namespace imago::IMAGO_CUDA_NAMESPACE {
namespace {

constexpr int kThreads = 256;

__device__ __forceinline__ float pixel(uint8_t v) {
  return static_cast<float>(v) / 127.5f - 1.0f;
}
template <class T>
__device__ __forceinline__ float pixel(T v) {
  return to_float(v);
}

/// HybridLossInputs on the device.
template <class T, class X>
struct Images {
  const T* prediction;
  const float* target;
  const X* x0;
  const float *weight, *bound;
  Divisor channels;
  int elements;  // of an image's target
  float lambda;

  explicit Images(const HybridLossInputs& in)
      : prediction(in.prediction.as<T>()),
        target(in.target.as<float>()),
        x0(in.x0.as<X>()),
        weight(in.weight.as<float>()),
        bound(in.bound.as<float>()),
        channels(in.target.shape[-1]),
        elements(static_cast<int>(in.target.numel() / in.target.shape[0])),
        lambda(in.lambda) {}

  /// f(at, error, term) for the calling thread's elements of image n: where m lies in the prediction, m -
  /// target, and the element's term of the bound.
  template <class F>
  __device__ __forceinline__ void for_mine(const int64_t n, F&& f) const {
    const float error_scale = bound[4 * n], min_log = bound[4 * n + 1], max_log = bound[4 * n + 2];
    const bool is_first = bound[4 * n + 3] == 1.0f;
    const int64_t first = n * elements;
    for (int e = static_cast<int>(threadIdx.x); e < elements; e += kThreads) {
      int position, channel;
      channels.split(e, position, channel);
      const int64_t at = 2 * (first + int64_t{position} * channels.value) + channel;
      const float error = to_float(prediction[at]) - target[first + e], off = error_scale * error;
      const float fraction = (to_float(prediction[at + channels.value]) + 1.0f) / 2.0f;
      const float l = fraction * max_log + (1.0f - fraction) * min_log;
      f(at, error, is_first ? decoder_term(pixel(x0[first + e]), off, l) : divergence_term(off, l, min_log));
    }
  }
};

template <class T, class X>
__global__ void __launch_bounds__(kThreads) hybrid_loss_kernel(const Images<T, X> images, float* loss) {
  IMAGO_SHARED(float, partial, [kThreads]);
  const int64_t n = blockIdx.x;
  const int thread = static_cast<int>(threadIdx.x);
  const float weight = images.weight[n];
  float sum = 0.0f;
  images.for_mine(n, [&](int64_t, float error, const BoundTerm<float>& term) {
    sum += weight * error * error + images.lambda * term.value;
  });
  partial[thread] = sum;
  __syncthreads();
  for (int half = kThreads / 2; half > 0; half /= 2) {
    if (thread < half) partial[thread] += partial[thread + half];
    __syncthreads();
  }
  if (thread == 0) loss[n] = partial[0] / static_cast<float>(images.elements);
}

template <class T, class X>
__global__ void __launch_bounds__(kThreads)
    hybrid_loss_backward_kernel(const Images<T, X> images, const float* dloss, T* dprediction) {
  const int64_t n = blockIdx.x;
  const float each = dloss[n] / static_cast<float>(images.elements);
  const float of_error = each * images.weight[n] * 2.0f;
  const float of_term = each * images.lambda * (images.bound[4 * n + 2] - images.bound[4 * n + 1]) / 2.0f;
  images.for_mine(n, [&](int64_t at, float error, const BoundTerm<float>& term) {
    dprediction[at] = from_float<T>(of_error * error);
    dprediction[at + images.channels.value] = from_float<T>(of_term * term.by_log_variance);
  });
}

/// f(Images, launch configuration) with the types of the inputs.
template <class F>
void with_images(const HybridLossInputs& in, const Gpu& gpu, F&& f) {
  const int64_t images = in.target.shape[0];
  if (in.target.numel() == 0) return;
  check(in.target.numel() / images < (int64_t{1} << 31), "hybrid_loss: an image of ", in.target.shape);
  const LaunchConfig config{.grid = blocks_for(images, 1), .block = kThreads, .stream = gpu.stream};
  dispatch_float(in.prediction.dtype, "hybrid_loss", [&](auto t) {
    const auto run = [&](auto x) { f(Images<decltype(t), decltype(x)>(in), config, t, x); };
    in.x0.dtype == DType::kUInt8 ? run(uint8_t()) : dispatch_float(in.x0.dtype, "hybrid_loss", run);
  });
}

}  // namespace

void CudaBackend::hybrid_loss(const HybridLossInputs& inputs, TensorRef loss) {
  with_images(inputs, gpu_, [&](const auto& images, const LaunchConfig& config, auto t, auto x) {
    launch(hybrid_loss_kernel<decltype(t), decltype(x)>, config, images, loss.as<float>());
  });
}

void CudaBackend::hybrid_loss_backward(ConstTensorRef dloss, const HybridLossInputs& inputs,
                                       TensorRef dprediction) {
  with_images(inputs, gpu_, [&](const auto& images, const LaunchConfig& config, auto t, auto x) {
    using T = decltype(t);
    launch(hybrid_loss_backward_kernel<T, decltype(x)>, config, images, dloss.as<float>(),
           dprediction.as<T>());
  });
}

}  // namespace imago::IMAGO_CUDA_NAMESPACE
