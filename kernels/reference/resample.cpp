// Resampling by two. Each is the other's gradient.
#include "kernels/reference/reference_backend.h"
#include "kernels/reference/types.h"

namespace imago {

using namespace reference;

namespace {

/// Row-major place of [n,h,w,c] in a tensor of this shape.
int64_t at(const Shape& shape, int64_t n, int64_t h, int64_t w, int64_t c) {
  return ((n * shape[1] + h) * shape[2] + w) * shape[3] + c;
}

/// f(n, h, w, c) for every element of a shape [N,H,W,C].
template <class F>
void for_each(const Shape& shape, F&& f) {
  for (int64_t n = 0; n < shape[0]; ++n) {
    for (int64_t h = 0; h < shape[1]; ++h) {
      for (int64_t w = 0; w < shape[2]; ++w) {
        for (int64_t c = 0; c < shape[3]; ++c) f(n, h, w, c);
      }
    }
  }
}

}  // namespace

void ReferenceBackend::upsample2x(ConstTensorRef x, float scale, TensorRef y) {
  dispatch("upsample2x", x.dtype, [&]<class T>() {
    for_each(y.shape, [&](int64_t n, int64_t h, int64_t w, int64_t c) {
      const double value = x.as<T>()[at(x.shape, n, h / 2, w / 2, c)];
      y.as<T>()[at(y.shape, n, h, w, c)] = static_cast<T>(scale * value);
    });
  });
}

void ReferenceBackend::sum_pool2x(ConstTensorRef x, float scale, TensorRef y) {
  dispatch("sum_pool2x", x.dtype, [&]<class T>() {
    for_each(y.shape, [&](int64_t n, int64_t h, int64_t w, int64_t c) {
      double sum = 0;
      for (int64_t dh : {0, 1}) {
        for (int64_t dw : {0, 1}) sum += x.as<T>()[at(x.shape, n, 2 * h + dh, 2 * w + dw, c)];
      }
      y.as<T>()[at(y.shape, n, h, w, c)] = static_cast<T>(scale * sum);
    });
  });
}

}  // namespace imago
