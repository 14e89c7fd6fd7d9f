#include <algorithm>
#include <cmath>
#include <limits>
#include <vector>

#include "kernels/reference/reference_backend.h"
#include "kernels/reference/types.h"

namespace imago {

using namespace reference;

namespace {

/// The shape of an image beside one of a pooling's two sides.
struct Sides {
  const Shape& image;   // [N,H,W,C]
  const Shape& pooled;  // [N,Ho,Wo,C]
};

/// f(n, i, j, c) for every element of the pooled side.
template <class F>
void for_each_window(const Sides& sides, F&& f) {
  const Shape& s = sides.pooled;
  for (int64_t n = 0; n < s[0]; ++n) {
    for (int64_t i = 0; i < s[1]; ++i) {
      for (int64_t j = 0; j < s[2]; ++j) {
        for (int64_t c = 0; c < s[3]; ++c) f(n, i, j, c);
      }
    }
  }
}

/// f(place in the image) for every pixel of window (i, j), as far as it lies in the image.
template <class F>
void for_each_inside(const Sides& sides, const PoolWindow& window, int64_t n, int64_t i, int64_t j, int64_t c,
                     F&& f) {
  const Shape& s = sides.image;
  const Conv2dGeometry& g = window.geometry;
  for (int64_t r = 0; r < window.rows; ++r) {
    for (int64_t q = 0; q < window.columns; ++q) {
      const int64_t h = i * g.stride + r - g.top, w = j * g.stride + q - g.left;
      if (h >= 0 && h < s[1] && w >= 0 && w < s[2]) f(((n * s[1] + h) * s[2] + w) * s[3] + c);
    }
  }
}

}  // namespace

void ReferenceBackend::avg_pool(ConstTensorRef x, const PoolWindow& window, TensorRef y) {
  const Sides sides{x.shape, y.shape};
  dispatch("avg_pool", x.dtype, [&]<class T>() {
    T* out = y.as<T>();
    for_each_window(sides, [&](int64_t n, int64_t i, int64_t j, int64_t c) {
      double sum = 0, pixels = 0;
      for_each_inside(sides, window, n, i, j, c, [&](int64_t at) {
        sum += static_cast<double>(x.as<T>()[at]);
        pixels += 1;
      });
      *out++ = static_cast<T>(sum / pixels);
    });
  });
}

void ReferenceBackend::avg_pool_backward(ConstTensorRef dy, const PoolWindow& window, TensorRef dx) {
  const Sides sides{dx.shape, dy.shape};
  dispatch("avg_pool_backward", dy.dtype, [&]<class T>() {
    std::vector<double> sums(static_cast<size_t>(dx.numel()), 0.0);
    const T* from = dy.as<T>();
    for_each_window(sides, [&](int64_t n, int64_t i, int64_t j, int64_t c) {
      double pixels = 0;
      for_each_inside(sides, window, n, i, j, c, [&](int64_t) { pixels += 1; });
      const double share = static_cast<double>(*from++) / pixels;
      for_each_inside(sides, window, n, i, j, c, [&](int64_t at) { sums[static_cast<size_t>(at)] += share; });
    });
    std::transform(sums.begin(), sums.end(), dx.as<T>(), [](double sum) { return static_cast<T>(sum); });
  });
}

void ReferenceBackend::max_pool(ConstTensorRef x, const PoolWindow& window, TensorRef y) {
  const Sides sides{x.shape, y.shape};
  dispatch("max_pool", x.dtype, [&]<class T>() {
    T* out = y.as<T>();
    for_each_window(sides, [&](int64_t n, int64_t i, int64_t j, int64_t c) {
      double largest = -std::numeric_limits<double>::infinity();
      for_each_inside(sides, window, n, i, j, c, [&](int64_t at) {
        const double value = static_cast<double>(x.as<T>()[at]);
        if (!(value <= largest) && !std::isnan(largest)) largest = value;
      });
      *out++ = static_cast<T>(largest);
    });
  });
}

}  // namespace imago
