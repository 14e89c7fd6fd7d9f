// Softmax cross entropy, a row of logits a time. [N, some classes]: the loops are plain, the sums in float64.
#include <algorithm>
#include <cmath>

#include "kernels/cpu/cpu_backend.h"
#include "kernels/cpu/parallel.h"

namespace imago {

using namespace cpu;

namespace {

/// log sum_k exp(x[k]), without overflow: the largest goes in front of the logarithm.
template <class T>
double log_sum_exp(const T* x, int64_t classes) {
  const double largest = *std::max_element(x, x + classes);
  double sum = 0;
  for (int64_t k = 0; k < classes; ++k) sum += std::exp(static_cast<double>(x[k]) - largest);
  return largest + std::log(sum);
}

/// f(n) for every row, a few thousand exponentials a thread.
template <class F>
void for_rows(const Shape& shape, F&& f) {
  parallel_chunks(shape[0], ceil_div(kGrain / 16, shape[1]), [&](int64_t begin, int64_t end) {
    for (int64_t n = begin; n < end; ++n) f(n);
  });
}

}  // namespace

void CpuBackend::cross_entropy(ConstTensorRef x, ConstTensorRef label, TensorRef loss) {
  const int64_t classes = x.shape[1];
  dispatch("cross_entropy", x.dtype, [&]<class T>() {
    for_rows(x.shape, [&](int64_t n) {
      const T* logits = x.as<T>() + n * classes;
      const double wanted = logits[label.as<int32_t>()[n]];
      loss.as<float>()[n] = static_cast<float>(log_sum_exp(logits, classes) - wanted);
    });
  });
}

void CpuBackend::cross_entropy_backward(ConstTensorRef dloss, ConstTensorRef x, ConstTensorRef label,
                                        TensorRef dx) {
  const int64_t classes = x.shape[1];
  dispatch("cross_entropy_backward", x.dtype, [&]<class T>() {
    for_rows(x.shape, [&](int64_t n) {
      const T* logits = x.as<T>() + n * classes;
      T* gradient = dx.as<T>() + n * classes;
      const double lse = log_sum_exp(logits, classes), factor = dloss.as<float>()[n];
      for (int64_t k = 0; k < classes; ++k) {
        const double wanted = k == label.as<int32_t>()[n] ? 1 : 0;
        const double probability = std::exp(static_cast<double>(logits[k]) - lse);
        gradient[k] = static_cast<T>(static_cast<float>(factor * (probability - wanted)));
      }
    });
  });
}

}  // namespace imago
