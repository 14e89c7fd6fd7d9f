// Pointwise operations: elementwise ones, where y[i] depends on element i alone; resampling by two;
// embeddings of times by sines (Vaswani 2017, section 3.5) and of labels by a table.
#include <algorithm>
#include <cmath>

#include "kernels/philox.h"
#include "kernels/reference/reference_backend.h"
#include "kernels/reference/types.h"

namespace imago {

using namespace reference;

// ---- Elementwise ----

namespace {

/// s(x) = 1 / (1 + exp(-x))
double sigmoid(double x) {
  return 1 / (1 + std::exp(-x));
}

template <class X, class Y>
void copy_elements(const X* x, int64_t count, Y* y) {
  for (int64_t i = 0; i < count; ++i) y[i] = static_cast<Y>(x[i]);
}

template <class T>
void add_elements(const T* a, double alpha, const T* b, double beta, int64_t count, T* y) {
  for (int64_t i = 0; i < count; ++i) y[i] = static_cast<T>(alpha * a[i] + beta * b[i]);
}

template <class T>
void silu_elements(const T* x, int64_t count, T* y) {
  for (int64_t i = 0; i < count; ++i) y[i] = static_cast<T>(x[i] * sigmoid(x[i]));
}

// d/dx (x s) = s + x s (1 - s)
template <class T>
void silu_backward_elements(const T* dy, const T* x, int64_t count, T* dx) {
  for (int64_t i = 0; i < count; ++i) {
    const double s = sigmoid(x[i]);
    dx[i] = static_cast<T>(dy[i] * s * (1 + x[i] * (1 - s)));
  }
}

template <class T>
void dropout_elements(const T* x, float p, const RandomKey& key, int64_t images, int64_t elements, T* y) {
  for (int64_t n = 0; n < images; ++n) {
    const int64_t id = key.ids.as<int64_t>()[n];
    for (int64_t e = 0; e < elements; ++e) {
      const int64_t i = n * elements + e;
      const bool keep = uniform_at(key.seed, key.stream, id, e) >= p;
      y[i] = static_cast<T>(keep ? x[i] / (1 - static_cast<double>(p)) : 0.0);
    }
  }
}

}  // namespace

void ReferenceBackend::fill(TensorRef y, double value) {
  dispatch_any("fill", y.dtype, [&]<class T>() {
    for (int64_t i = 0; i < y.numel(); ++i) y.as<T>()[i] = static_cast<T>(value);
  });
}

void ReferenceBackend::copy(ConstTensorRef x, TensorRef y) {
  dispatch_any("copy", x.dtype, [&]<class X>() {
    dispatch_any("copy", y.dtype, [&]<class Y>() { copy_elements(x.as<X>(), x.numel(), y.as<Y>()); });
  });
}

void ReferenceBackend::add(ConstTensorRef a, float alpha, ConstTensorRef b, float beta, TensorRef y) {
  dispatch("add", y.dtype,
           [&]<class T>() { add_elements(a.as<T>(), alpha, b.as<T>(), beta, y.numel(), y.as<T>()); });
}

void ReferenceBackend::silu(ConstTensorRef x, TensorRef y) {
  dispatch("silu", x.dtype, [&]<class T>() { silu_elements(x.as<T>(), x.numel(), y.as<T>()); });
}

void ReferenceBackend::silu_backward(ConstTensorRef dy, ConstTensorRef x, TensorRef dx) {
  dispatch("silu_backward", x.dtype,
           [&]<class T>() { silu_backward_elements(dy.as<T>(), x.as<T>(), x.numel(), dx.as<T>()); });
}

void ReferenceBackend::relu(ConstTensorRef x, TensorRef y) {
  dispatch("relu", x.dtype, [&]<class T>() {
    std::transform(x.as<T>(), x.as<T>() + x.numel(), y.as<T>(), [](T v) { return v < T(0) ? T(0) : v; });
  });
}

void ReferenceBackend::relu_backward(ConstTensorRef dy, ConstTensorRef x, TensorRef dx) {
  dispatch("relu_backward", x.dtype, [&]<class T>() {
    std::transform(dy.as<T>(), dy.as<T>() + x.numel(), x.as<T>(), dx.as<T>(),
                   [](T gradient, T v) { return v > T(0) ? gradient : T(0); });
  });
}

void ReferenceBackend::dropout(ConstTensorRef x, float p, const RandomKey& key, TensorRef y) {
  const int64_t images = x.shape[0], elements = images ? x.numel() / images : 0;
  dispatch("dropout", x.dtype,
           [&]<class T>() { dropout_elements(x.as<T>(), p, key, images, elements, y.as<T>()); });
}

// ---- Resampling: each of the two is the other's gradient ----

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

// ---- Embeddings ----

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
