// Losses.
#include <algorithm>
#include <cmath>

#include "kernels/reference/reference_backend.h"
#include "kernels/reference/types.h"

namespace imago {

using namespace reference;

namespace {

/// log sum_k exp(x[k]), without overflow: the largest goes in front of the logarithm.
template <class T>
double log_sum_exp(const T* x, int64_t classes) {
  const double largest = *std::max_element(x, x + classes);
  double sum = 0;
  for (int64_t k = 0; k < classes; ++k) sum += std::exp(static_cast<double>(x[k]) - largest);
  return largest + std::log(sum);
}

}  // namespace

void ReferenceBackend::cross_entropy(ConstTensorRef x, ConstTensorRef label, TensorRef loss) {
  const int64_t rows = x.shape[0], classes = x.shape[1];
  dispatch("cross_entropy", x.dtype, [&]<class T>() {
    using V = VectorOf<T>;
    for (int64_t n = 0; n < rows; ++n) {
      const T* logits = x.as<T>() + n * classes;
      const double wanted = logits[label.as<int32_t>()[n]];
      loss.as<V>()[n] = static_cast<V>(log_sum_exp(logits, classes) - wanted);
    }
  });
}

void ReferenceBackend::cross_entropy_backward(ConstTensorRef dloss, ConstTensorRef x, ConstTensorRef label,
                                              TensorRef dx) {
  const int64_t rows = x.shape[0], classes = x.shape[1];
  dispatch("cross_entropy_backward", x.dtype, [&]<class T>() {
    for (int64_t n = 0; n < rows; ++n) {
      const T* logits = x.as<T>() + n * classes;
      const double lse = log_sum_exp(logits, classes);
      for (int64_t k = 0; k < classes; ++k) {
        const double wanted = k == label.as<int32_t>()[n] ? 1 : 0;
        dx.as<T>()[n * classes + k] =
            static_cast<T>(number_at(dloss, n) * (std::exp(static_cast<double>(logits[k]) - lse) - wanted));
      }
    }
  });
}

}  // namespace imago
