// Resampling by two. Each is the other's gradient. Bound by memory; the threads share out the rows.
#include "kernels/cpu/cpu_backend.h"
#include "kernels/cpu/parallel.h"

namespace imago {

using namespace cpu;

namespace {

/// One row of x [W,C] into two equal rows of y [2,2W,C].
template <class T>
void upsample_row(const T* x, int64_t width, int64_t channels, float scale, T* y) {
  const int64_t row = 2 * width * channels;
  for (int64_t w = 0; w < width; ++w) {
    const T* source = x + w * channels;
    T* top = y + 2 * w * channels;
    vector_loop(0, channels, [&](int64_t c, int64_t lanes) {
      const Vec v = scale * load_up_to(source + c, lanes);
      for (T* target : {top, top + channels, top + row, top + row + channels}) {
        store_up_to(target + c, v, lanes);
      }
    });
  }
}

/// Two rows of x [2,2W,C] into one row of y [W,C].
template <class T>
void sum_pool_row(const T* x, int64_t width, int64_t channels, float scale, T* y) {
  const int64_t row = 2 * width * channels;
  for (int64_t w = 0; w < width; ++w) {
    const T* top = x + 2 * w * channels;
    vector_loop(0, channels, [&](int64_t c, int64_t lanes) {
      const Vec upper = load_up_to(top + c, lanes) + load_up_to(top + channels + c, lanes);
      const Vec lower = load_up_to(top + row + c, lanes) + load_up_to(top + row + channels + c, lanes);
      store_up_to(y + w * channels + c, scale * (upper + lower), lanes);
    });
  }
}

}  // namespace

void CpuBackend::upsample2x(ConstTensorRef x, float scale, TensorRef y) {
  const int64_t rows = x.shape[0] * x.shape[1], width = x.shape[2], channels = x.shape[3];
  const int64_t row = width * channels;
  dispatch("upsample2x", x.dtype, [&]<class T>() {
    parallel_chunks(rows, ceil_div(kGrain, 4 * row + 1), [&](int64_t begin, int64_t end) {
      for (int64_t r = begin; r < end; ++r) {
        upsample_row(x.as<T>() + r * row, width, channels, scale, y.as<T>() + 4 * r * row);
      }
    });
  });
}

void CpuBackend::sum_pool2x(ConstTensorRef x, float scale, TensorRef y) {
  const int64_t rows = y.shape[0] * y.shape[1], width = y.shape[2], channels = y.shape[3];
  const int64_t row = width * channels;
  dispatch("sum_pool2x", x.dtype, [&]<class T>() {
    parallel_chunks(rows, ceil_div(kGrain, 4 * row + 1), [&](int64_t begin, int64_t end) {
      for (int64_t r = begin; r < end; ++r) {
        sum_pool_row(x.as<T>() + 4 * r * row, width, channels, scale, y.as<T>() + r * row);
      }
    });
  });
}

}  // namespace imago
