// Pooling over windows of any size. Bound by memory; the threads share out the rows of what is written.
#include "kernels/cpu/cpu_backend.h"
#include "kernels/cpu/parallel.h"

namespace imago {

using namespace cpu;

namespace {

struct Range {
  int64_t begin, end;
  int64_t size() const { return end - begin; }
};

/// The rows (columns) of an image of `extent` that window number i holds; `before`: of the padding.
Range pixels_of_window(int64_t i, int stride, int before, int size, int64_t extent) {
  const int64_t first = i * stride - before;
  return {std::max<int64_t>(0, first), std::min<int64_t>(extent, first + size)};
}

/// The windows, of `count`, that hold row (column) h.
Range windows_of_pixel(int64_t h, int stride, int before, int size, int64_t count) {
  const int64_t last = h + before;
  return {std::max<int64_t>(0, ceil_div(last - size + 1, stride)),
          std::min<int64_t>(count, last / stride + 1)};
}

struct Mean {
  static Vec join(Vec a, Vec b) { return a + b; }
  static Vec finish(Vec sum, int64_t pixels) { return sum / splat(static_cast<float>(pixels)); }
};

struct Maximum {
  static Vec join(Vec a, Vec b) { return (b <= a) | (a != a) ? a : b; }  // NaN stays
  static Vec finish(Vec largest, int64_t) { return largest; }
};

/// One row of y [Wo,C] from an image x [H,W,C] and the rows of it that the row's windows hold.
template <class Pool, class T>
void pool_row(const T* x, const Range& rows, int64_t width, int64_t channels, const PoolWindow& window, T* y,
              int64_t out_width) {
  for (int64_t j = 0; j < out_width; ++j) {
    const Range columns =
        pixels_of_window(j, window.geometry.stride, window.geometry.left, window.columns, width);
    vector_loop(0, channels, [&](int64_t c, int64_t lanes) {
      const auto pixel = [&](int64_t h, int64_t w) {
        return load_up_to(x + (h * width + w) * channels + c, lanes);
      };
      Vec v = pixel(rows.begin, columns.begin);
      for (int64_t w = columns.begin + 1; w < columns.end; ++w) v = Pool::join(v, pixel(rows.begin, w));
      for (int64_t h = rows.begin + 1; h < rows.end; ++h)
        for (int64_t w = columns.begin; w < columns.end; ++w) v = Pool::join(v, pixel(h, w));
      store_up_to(y + j * channels + c, Pool::finish(v, rows.size() * columns.size()), lanes);
    });
  }
}

template <class Pool, class T>
void pool(ConstTensorRef x, const PoolWindow& window, TensorRef y) {
  const int64_t height = x.shape[1], width = x.shape[2], channels = x.shape[3];
  const int64_t out_height = y.shape[1], out_width = y.shape[2], row = out_width * channels;
  const int64_t row_cost = row * window.rows * window.columns + 1;
  parallel_chunks(y.shape[0] * out_height, ceil_div(kGrain, row_cost), [&](int64_t begin, int64_t end) {
    for (int64_t r = begin; r < end; ++r) {
      const T* image = x.as<T>() + r / out_height * height * width * channels;
      const Range rows =
          pixels_of_window(r % out_height, window.geometry.stride, window.geometry.top, window.rows, height);
      pool_row<Pool>(image, rows, width, channels, window, y.as<T>() + r * row, out_width);
    }
  });
}

/// Row h of dx [W,C] from the image's dy [Ho,Wo,C].
template <class T>
void avg_pool_backward_row(const T* dy, const PoolWindow& window, const Shape& dy_shape, int64_t h, T* dx,
                           const Shape& dx_shape) {
  const Conv2dGeometry& g = window.geometry;
  const int64_t height = dx_shape[1], width = dx_shape[2], channels = dx_shape[3], out_width = dy_shape[2];
  const Range is = windows_of_pixel(h, g.stride, g.top, window.rows, dy_shape[1]);
  for (int64_t w = 0; w < width; ++w) {
    const Range js = windows_of_pixel(w, g.stride, g.left, window.columns, out_width);
    vector_loop(0, channels, [&](int64_t c, int64_t lanes) {
      Vec sum = {};
      for (int64_t i = is.begin; i < is.end; ++i) {
        const int64_t rows = pixels_of_window(i, g.stride, g.top, window.rows, height).size();
        for (int64_t j = js.begin; j < js.end; ++j) {
          const int64_t columns = pixels_of_window(j, g.stride, g.left, window.columns, width).size();
          sum += Mean::finish(load_up_to(dy + (i * out_width + j) * channels + c, lanes), rows * columns);
        }
      }
      store_up_to(dx + w * channels + c, sum, lanes);
    });
  }
}

}  // namespace

void CpuBackend::avg_pool(ConstTensorRef x, const PoolWindow& window, TensorRef y) {
  dispatch("avg_pool", x.dtype, [&]<class T>() { pool<Mean, T>(x, window, y); });
}

void CpuBackend::max_pool(ConstTensorRef x, const PoolWindow& window, TensorRef y) {
  dispatch("max_pool", x.dtype, [&]<class T>() { pool<Maximum, T>(x, window, y); });
}

void CpuBackend::avg_pool_backward(ConstTensorRef dy, const PoolWindow& window, TensorRef dx) {
  const int64_t height = dx.shape[1], row = dx.shape[2] * dx.shape[3];
  const int64_t image = dy.shape[1] * dy.shape[2] * dy.shape[3];
  dispatch("avg_pool_backward", dy.dtype, [&]<class T>() {
    parallel_chunks(dx.shape[0] * height, ceil_div(kGrain, 2 * row + 1), [&](int64_t begin, int64_t end) {
      for (int64_t r = begin; r < end; ++r)
        avg_pool_backward_row(dy.as<T>() + r / height * image, window, dy.shape, r % height,
                              dx.as<T>() + r * row, dx.shape);
    });
  });
}

}  // namespace imago
