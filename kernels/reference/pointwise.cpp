// Elementwise operations: y[i] depends on element i alone.
#include <cmath>

#include "kernels/philox.h"
#include "kernels/reference/reference_backend.h"
#include "kernels/reference/types.h"

namespace imago {

using namespace reference;

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

void ReferenceBackend::dropout(ConstTensorRef x, float p, const RandomKey& key, TensorRef y) {
  const int64_t images = x.shape[0], elements = images ? x.numel() / images : 0;
  dispatch("dropout", x.dtype,
           [&]<class T>() { dropout_elements(x.as<T>(), p, key, images, elements, y.as<T>()); });
}

}  // namespace imago
