// Embeddings: of times by sines (Vaswani 2017, section 3.5), of labels by a table. Small tensors: [N,E] with
// a few thousand elements, so these loops are plain, and right before fast.
#include <cmath>

#include "kernels/cpu/cpu_backend.h"
#include "kernels/cpu/parallel.h"

namespace imago {

using namespace cpu;

namespace {

// y[n] = [sin(t f_0) .. sin(t f_{E/2-1}), cos(t f_0) .. cos(t f_{E/2-1})], an odd last column zero.
// The angle is taken in float64: t reaches 1000, where a float32 angle is already off by 3e-5.
template <class T>
void sinusoid_row(double t, const float* frequencies, bool cos_first, int64_t width, T* y) {
  const int64_t half = width / 2;
  T *sines = y + (cos_first ? half : 0), *cosines = y + (cos_first ? 0 : half);
  for (int64_t e = 0; e < half; ++e) {
    const double angle = t * frequencies[e];
    sines[e] = static_cast<T>(static_cast<float>(std::sin(angle)));
    cosines[e] = static_cast<T>(static_cast<float>(std::cos(angle)));
  }
  if (width % 2) y[width - 1] = static_cast<T>(0.0f);
}

}  // namespace

void CpuBackend::sinusoid(ConstTensorRef t, ConstTensorRef frequencies, bool cos_first, TensorRef y) {
  const int64_t width = y.shape[-1];
  dispatch("sinusoid", y.dtype, [&]<class T>() {
    parallel_chunks(t.numel(), ceil_div(kGrain / 32, width), [&](int64_t begin, int64_t end) {
      for (int64_t n = begin; n < end; ++n) {
        sinusoid_row<T>(t.as<float>()[n], frequencies.as<float>(), cos_first, width, y.as<T>() + n * width);
      }
    });
  });
}

void CpuBackend::embedding(ConstTensorRef table, ConstTensorRef index, TensorRef y) {
  const int64_t width = table.shape[-1];
  dispatch("embedding", y.dtype, [&]<class T>() {
    parallel_chunks(index.numel(), ceil_div(kGrain, width), [&](int64_t begin, int64_t end) {
      for (int64_t n = begin; n < end; ++n) {
        const T* row = table.as<T>() + index.as<int32_t>()[n] * width;
        std::copy(row, row + width, y.as<T>() + n * width);
      }
    });
  });
}

// dtable[index[n]] += dy[n], in the order of n: two images of one label meet in one row, so the threads
// share out the columns, not the rows.
void CpuBackend::embedding_backward(ConstTensorRef dy, ConstTensorRef index, TensorRef dtable) {
  const int64_t width = dtable.shape[-1], count = index.numel();
  dispatch("embedding_backward", dy.dtype, [&]<class T>() {
    parallel_chunks(width, round_up(ceil_div(kGrain, count + 1), kLanes), [&](int64_t begin, int64_t end) {
      for (int64_t n = 0; n < count; ++n) {
        const T* gradient = dy.as<T>() + n * width;
        float* row = dtable.as<float>() + index.as<int32_t>()[n] * width;
        vector_loop(begin, end, [&](int64_t e, int64_t lanes) {
          store_up_to(row + e, load_up_to(row + e, lanes) + load_up_to(gradient + e, lanes), lanes);
        });
      }
    });
  });
}

}  // namespace imago
