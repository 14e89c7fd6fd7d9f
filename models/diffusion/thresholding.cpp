#include "models/diffusion/thresholding.h"

#include <algorithm>
#include <cmath>

#include "engine/ops/elementwise.h"

namespace imago {
namespace {

// As numpy and torch have it: linear between the two nearest of the sorted values.
double quantile(std::vector<double> values, double q) {
  std::sort(values.begin(), values.end());
  const double at = q * static_cast<double>(values.size() - 1);
  const auto low = static_cast<size_t>(at);
  const size_t high = std::min(low + 1, values.size() - 1);
  return values[low] + (at - static_cast<double>(low)) * (values[high] - values[low]);
}

}  // namespace

Tensor thresholded_step(const Tensor& x, const Tensor& m, const Tensor& z, const SamplerStep& s, double ratio,
                        double max) {
  const std::vector<double> xs = to_doubles(x), ms = to_doubles(m);
  const std::vector<double> zs = z ? to_doubles(z) : std::vector<double>(xs.size());
  const size_t images = static_cast<size_t>(x.dim(0)), size = xs.size() / images;
  std::vector<double> ys(xs.size());
  for (size_t n = 0; n < images; ++n) {
    std::vector<double> x0(size), magnitude(size);
    for (size_t i = 0; i < size; ++i) {
      x0[i] = s.x0_x * xs[n * size + i] + s.x0_m * ms[n * size + i];
      magnitude[i] = std::abs(x0[i]);
    }
    const double limit = std::clamp(quantile(std::move(magnitude), ratio), 1.0, max);
    for (size_t i = 0; i < size; ++i) {
      const size_t at = n * size + i;
      const double clamped = std::clamp(x0[i], -limit, limit) / limit;
      ys[at] = s.y_x * xs[at] + s.y_m * ms[at] + s.y_x0 * clamped + s.sigma * zs[at];
    }
  }
  return from_doubles(ys, x.shape(), x.dtype(), x.device());  // [N,H,W,C]
}

}  // namespace imago
