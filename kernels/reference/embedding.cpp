// Embeddings: of times by sines (Vaswani 2017, section 3.5), of labels by a table.
#include <cmath>

#include "kernels/reference/reference_backend.h"
#include "kernels/reference/types.h"

namespace imago {

using namespace reference;

namespace {

// y[n] = [sin(t f_0) .. sin(t f_{E/2-1}), cos(t f_0) .. cos(t f_{E/2-1})], an odd last column zero
template <class T>
void sinusoid_rows(ConstTensorRef t, ConstTensorRef frequencies, bool cos_first, int64_t width, T* y) {
  const int64_t half = width / 2;
  for (int64_t n = 0; n < t.numel(); ++n) {
    T* sines = y + n * width + (cos_first ? half : 0);
    T* cosines = y + n * width + (cos_first ? 0 : half);
    for (int64_t e = 0; e < half; ++e) {
      const double angle = number_at(t, n) * number_at(frequencies, e);
      sines[e] = static_cast<T>(std::sin(angle));
      cosines[e] = static_cast<T>(std::cos(angle));
    }
    if (width % 2) y[n * width + width - 1] = static_cast<T>(0.0);
  }
}

}  // namespace

void ReferenceBackend::sinusoid(ConstTensorRef t, ConstTensorRef frequencies, bool cos_first, TensorRef y) {
  dispatch("sinusoid", y.dtype,
           [&]<class T>() { sinusoid_rows(t, frequencies, cos_first, y.shape[-1], y.as<T>()); });
}

void ReferenceBackend::embedding(ConstTensorRef table, ConstTensorRef index, TensorRef y) {
  const int64_t width = table.shape[-1];
  dispatch("embedding", y.dtype, [&]<class T>() {
    for (int64_t n = 0; n < index.numel(); ++n) {
      const T* row = table.as<T>() + index.as<int32_t>()[n] * width;
      for (int64_t e = 0; e < width; ++e) y.as<T>()[n * width + e] = row[e];
    }
  });
}

// dtable[index[n]] += dy[n]. Each row's sum is carried in double, then added once.
void ReferenceBackend::embedding_backward(ConstTensorRef dy, ConstTensorRef index, TensorRef dtable) {
  const int64_t width = dtable.shape[-1], rows = dtable.shape[0];
  dispatch("embedding_backward", dy.dtype, [&]<class T>() {
    using V = VectorOf<T>;
    for (int64_t row = 0; row < rows; ++row) {
      for (int64_t e = 0; e < width; ++e) {
        double sum = 0;
        for (int64_t n = 0; n < index.numel(); ++n) {
          if (index.as<int32_t>()[n] == row) sum += dy.as<T>()[n * width + e];
        }
        V& gradient = dtable.as<V>()[row * width + e];
        gradient = static_cast<V>(gradient + sum);
      }
    }
  });
}

}  // namespace imago
