#include "models/unet/fourier.h"

#include <cmath>
#include <numbers>

#include "engine/autograd/tape.h"
#include "engine/ops/elementwise.h"
#include "models/unet/inputs.h"

namespace imago {

// On the host and in double: w has deviation 16, so that in float32 the angle's rounding would show.
Tensor fourier_features(const Tensor& t, const Tensor& frequencies, DType dtype) {
  const std::vector<float> times = host_floats(t);
  const std::vector<double> w = to_doubles(frequencies);
  const int64_t n = t.dim(0), half = frequencies.numel();
  std::vector<float> features(static_cast<size_t>(n * 2 * half));
  for (int64_t i = 0; i < n; ++i)
    for (int64_t j = 0; j < half; ++j) {
      const double angle = 2 * std::numbers::pi * w[j] * std::log(static_cast<double>(times[i]));
      features[i * 2 * half + j] = static_cast<float>(std::sin(angle));
      features[i * 2 * half + half + j] = static_cast<float>(std::cos(angle));
    }
  return cast(from_vector(features, {n, 2 * half}, t.device()), dtype);  // [N,2*half]
}

Tensor divided_by_time(const Tensor& h, const Tensor& t) {
  const auto divide = [factor = host_floats(t)](const Tensor& in) {
    const Shape image{in.dim(1), in.dim(2), in.dim(3)};
    const Tensor out = empty_like(in);  // [N,H,W,C]
    for (int64_t n = 0; n < in.dim(0); ++n) {
      const NoGrad no_grad;
      const int64_t at = n * image.numel();
      copy(scale(in.slice(at, image), 1 / factor[n]), out.slice(at, image));
    }
    return out;
  };
  return record("divided_by_time", divide(h), {h},
                [divide](const Tensor& dy) { return Gradients{divide(dy)}; });  // dh = dy / t
}

}  // namespace imago
