// Elementwise operations: y[i] depends on element i alone. All are bound by memory, not by arithmetic: each
// reads its inputs once, in chunks of kGrain elements a thread, and computes in registers.
#include "kernels/cpu/cpu_backend.h"
#include "kernels/cpu/parallel.h"
#include "kernels/cpu/random_block.h"
#include "kernels/cpu/simd_math.h"

namespace imago {

using namespace cpu;

namespace {

template <class X, class Y>
constexpr bool kBothActivations = (std::is_same_v<X, float> ||
                                   std::is_same_v<X, bf16>)&&(std::is_same_v<Y, float> ||
                                                              std::is_same_v<Y, bf16>);

template <class X, class Y>
void copy_elements(const X* x, int64_t n, Y* y) {
  if constexpr (kBothActivations<X, Y>) {
    parallel_vectors(n,
                     [&](int64_t i, int64_t lanes) { store_up_to(y + i, load_up_to(x + i, lanes), lanes); });
  } else {
    parallel_chunks(n, kGrain, [&](int64_t begin, int64_t end) {
      for (int64_t i = begin; i < end; ++i) y[i] = static_cast<Y>(x[i]);
    });
  }
}

template <class T>
void dropout_elements(const T* x, float p, const RandomKey& key, int64_t images, int64_t elements, T* y) {
  const Vec keep_scale = splat(static_cast<float>(1.0 / (1.0 - static_cast<double>(p))));
  for_each_random_block<Distribution::kUniform>(
      key, images, elements, [&](int64_t, int64_t first, int64_t count, const float* uniform) {
        vector_loop(0, count, [&](int64_t i, int64_t lanes) {
          const Vec kept = load_up_to(x + first + i, lanes) * keep_scale;
          store_up_to(y + first + i, load(uniform + i) >= p ? kept : Vec{}, lanes);
        });
      });
}

}  // namespace

void CpuBackend::fill(TensorRef y, double value) {
  dispatch_any("fill", y.dtype, [&]<class T>() {
    const T v = static_cast<T>(value);
    parallel_chunks(y.numel(), kGrain,
                    [&](int64_t begin, int64_t end) { std::fill(y.as<T>() + begin, y.as<T>() + end, v); });
  });
}

void CpuBackend::copy(ConstTensorRef x, TensorRef y) {
  dispatch_any("copy", x.dtype, [&]<class X>() {
    dispatch_any("copy", y.dtype, [&]<class Y>() { copy_elements(x.as<X>(), x.numel(), y.as<Y>()); });
  });
}

// y = alpha a + beta b
void CpuBackend::add(ConstTensorRef a, float alpha, ConstTensorRef b, float beta, TensorRef y) {
  dispatch("add", y.dtype, [&]<class T>() {
    const T *pa = a.as<T>(), *pb = b.as<T>();
    T* py = y.as<T>();
    parallel_vectors(y.numel(), [=](int64_t i, int64_t lanes) {
      store_up_to(py + i, alpha * load_up_to(pa + i, lanes) + beta * load_up_to(pb + i, lanes), lanes);
    });
  });
}

// y = x s(x)
void CpuBackend::silu(ConstTensorRef x, TensorRef y) {
  dispatch("silu", x.dtype, [&]<class T>() {
    const T* px = x.as<T>();
    T* py = y.as<T>();
    parallel_vectors(x.numel(), [=](int64_t i, int64_t lanes) {
      store_up_to(py + i, cpu::silu(load_up_to(px + i, lanes)), lanes);
    });
  });
}

// dx = dy s (1 + x (1 - s))
void CpuBackend::silu_backward(ConstTensorRef dy, ConstTensorRef x, TensorRef dx) {
  dispatch("silu_backward", x.dtype, [&]<class T>() {
    const T *pdy = dy.as<T>(), *px = x.as<T>();
    T* pdx = dx.as<T>();
    parallel_vectors(x.numel(), [=](int64_t i, int64_t lanes) {
      store_up_to(pdx + i, load_up_to(pdy + i, lanes) * silu_derivative(load_up_to(px + i, lanes)), lanes);
    });
  });
}

// y = max(x, 0)
void CpuBackend::relu(ConstTensorRef x, TensorRef y) {
  dispatch("relu", x.dtype, [&]<class T>() {
    const T* px = x.as<T>();
    T* py = y.as<T>();
    parallel_vectors(x.numel(), [=](int64_t i, int64_t lanes) {
      const Vec v = load_up_to(px + i, lanes);
      store_up_to(py + i, v < 0.0f ? Vec{} : v, lanes);
    });
  });
}

// dx = x > 0 ? dy : 0
void CpuBackend::relu_backward(ConstTensorRef dy, ConstTensorRef x, TensorRef dx) {
  dispatch("relu_backward", x.dtype, [&]<class T>() {
    const T *pdy = dy.as<T>(), *px = x.as<T>();
    T* pdx = dx.as<T>();
    parallel_vectors(x.numel(), [=](int64_t i, int64_t lanes) {
      store_up_to(pdx + i, load_up_to(px + i, lanes) > 0.0f ? load_up_to(pdy + i, lanes) : Vec{}, lanes);
    });
  });
}

void CpuBackend::dropout(ConstTensorRef x, float p, const RandomKey& key, TensorRef y) {
  const int64_t images = x.shape[0], elements = images ? x.numel() / images : 0;
  dispatch("dropout", x.dtype,
           [&]<class T>() { dropout_elements(x.as<T>(), p, key, images, elements, y.as<T>()); });
}

}  // namespace imago
