#include "models/features/inception_features.h"

#include <algorithm>
#include <cmath>

namespace imago {

namespace {

constexpr int64_t kSide = 299;

/// The two input pixels that an output pixel lies between, and the weight of the second.
struct Between {
  int64_t first, second;
  float weight;
};

std::vector<Between> neighbours(int64_t in, int64_t out) {
  std::vector<Between> all;
  const double step = static_cast<double>(in) / static_cast<double>(out);
  for (int64_t i = 0; i < out; ++i) {
    const double at = std::max(0.0, (static_cast<double>(i) + 0.5) * step - 0.5);
    const auto first = std::min(static_cast<int64_t>(at), in - 1);
    all.push_back({first, std::min(first + 1, in - 1), static_cast<float>(at - static_cast<double>(first))});
  }
  return all;
}

Tensor three_channels(const Tensor& images) {
  if (images.dim(3) == 3) return images;
  const auto grey = to_vector<float>(images);  // [N,H,W,1]
  std::vector<float> colour;
  for (const float value : grey) colour.insert(colour.end(), 3, value);
  return from_vector(colour, {images.dim(0), images.dim(1), images.dim(2), 3}, images.device());
}

}  // namespace

Tensor resize_plainly(const Tensor& images, int64_t height, int64_t width) {
  const int64_t n = images.dim(0), h = images.dim(1), w = images.dim(2), c = images.dim(3);
  if (h == height && w == width) return images;
  const std::vector<Between> rows = neighbours(h, height), columns = neighbours(w, width);
  const auto from = to_vector<float>(images);                          // [N,H,W,C]
  std::vector<float> to(static_cast<size_t>(n * height * width * c));  // [N,height,width,C]
#pragma omp parallel for
  for (int64_t row = 0; row < n * height; ++row) {
    const Between& y = rows[static_cast<size_t>(row % height)];
    const float *upper = &from[static_cast<size_t>((row / height * h + y.first) * w * c)],
                *lower = &from[static_cast<size_t>((row / height * h + y.second) * w * c)];
    float* out = &to[static_cast<size_t>(row * width * c)];
    for (const Between& x : columns) {
      for (int64_t k = 0; k < c; ++k) {
        const auto across = [&](const float* line) {
          return line[x.first * c + k] + x.weight * (line[x.second * c + k] - line[x.first * c + k]);
        };
        *out++ = across(upper) + y.weight * (across(lower) - across(upper));
      }
    }
  }
  return from_vector(to, {n, height, width, c}, images.device());
}

Tensor InceptionFeatures::features(const Tensor& images) const {
  return network_.features(resize_plainly(three_channels(images), kSide, kSide));  // [N,D]
}

}  // namespace imago
