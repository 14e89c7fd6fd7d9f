#include "models/diffusion/thresholding.h"

#include <algorithm>
#include <cmath>

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

Tensor threshold_limits(const Tensor& x, const Tensor& m, const SamplerStep& s,
                        const DynamicThresholding& thresholding) {
  const std::vector<double> xs = to_doubles(x), ms = to_doubles(m);
  const auto images = static_cast<size_t>(x.dim(0)), size = xs.size() / images;
  const auto channels = static_cast<size_t>(x.dim(-1)), stride = static_cast<size_t>(m.dim(-1));
  const size_t unconditional = m.dim(0) == x.dim(0) ? 0 : ms.size() / 2;
  std::vector<double> limits;
  for (size_t n = 0; n < images; ++n) {
    std::vector<double> magnitude(size);
    for (size_t i = 0; i < size; ++i) {
      const size_t at = n * size + i, of_m = at / channels * stride + at % channels;
      double output = ms[of_m];
      if (unconditional != 0) {
        const double u = ms[of_m + unconditional];
        output = u + s.guidance * (output - u);
      }
      magnitude[i] = std::abs(s.x0_x * xs[at] + s.x0_m * output);
    }
    limits.push_back(std::clamp(quantile(std::move(magnitude), thresholding.ratio), 1.0, thresholding.max));
  }
  return from_doubles(limits, {x.dim(0)}, x.dtype(), x.device());  // [N]
}

}  // namespace imago
