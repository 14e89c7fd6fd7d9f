// The loss of a model that learns its variance, an image a time. Images have few channels, so this is a small
// part of a step: the loops are plain, in float64.
#include "kernels/bound_terms.h"
#include "kernels/cpu/cpu_backend.h"
#include "kernels/cpu/parallel.h"

namespace imago {

using namespace cpu;

namespace {

double pixel(uint8_t v) {
  return v / 127.5 - 1;
}
double pixel(float v) {
  return static_cast<double>(v);
}

/// f(at, error, term) for every element of image n: where its m lies in the prediction (o is the target's
/// channels behind it), m - target, and its term of the bound.
template <class T, class X, class F>
void for_each_element(const HybridLossInputs& in, int64_t n, F&& f) {
  const int64_t channels = in.target.shape[-1], elements = in.target.numel() / in.target.shape[0];
  const float* bound = in.bound.as<float>() + 4 * n;
  const double error_scale = bound[0], min_log = bound[1], max_log = bound[2];
  const bool is_first = bound[3] == 1;
  for (int64_t i = n * elements; i < (n + 1) * elements; ++i) {
    const int64_t at = i / channels * 2 * channels + i % channels;
    const double m = in.prediction.as<T>()[at], o = in.prediction.as<T>()[at + channels];
    const double error = m - static_cast<double>(in.target.as<float>()[i]), e = error_scale * error;
    const double fraction = (o + 1) / 2, l = fraction * max_log + (1 - fraction) * min_log;
    f(at, error, is_first ? decoder_term(pixel(in.x0.as<X>()[i]), e, l) : divergence_term(e, l, min_log));
  }
}

/// f.operator()<T, X>(n) for every image, with the types of prediction and x0.
template <class F>
void for_each_image(const HybridLossInputs& in, F&& f) {
  dispatch("hybrid_loss", in.prediction.dtype, [&]<class T>() {
    const auto run = [&]<class X>() {
      parallel_items(in.target.shape[0], [&](int64_t n) { f.template operator()<T, X>(n); });
    };
    in.x0.dtype == DType::kUInt8 ? run.template operator()<uint8_t>()
                                 : dispatch("hybrid_loss", in.x0.dtype, run);
  });
}

}  // namespace

void CpuBackend::hybrid_loss(const HybridLossInputs& in, TensorRef loss) {
  for_each_image(in, [&]<class T, class X>(int64_t n) {
    double errors = 0, bounds = 0;
    for_each_element<T, X>(in, n, [&](int64_t, double error, const BoundTerm<double>& term) {
      errors += error * error;
      bounds += term.value;
    });
    const double elements = static_cast<double>(in.target.numel() / in.target.shape[0]);
    loss.as<float>()[n] =
        static_cast<float>((in.weight.as<float>()[n] * errors + in.lambda * bounds) / elements);
  });
}

void CpuBackend::hybrid_loss_backward(ConstTensorRef dloss, const HybridLossInputs& in,
                                      TensorRef dprediction) {
  for_each_image(in, [&]<class T, class X>(int64_t n) {
    const double elements = static_cast<double>(in.target.numel() / in.target.shape[0]);
    const double each = dloss.as<float>()[n] / elements;
    const float* bound = in.bound.as<float>() + 4 * n;
    const double of_error = each * in.weight.as<float>()[n] * 2;
    const double of_term = each * in.lambda * (static_cast<double>(bound[2]) - bound[1]) / 2;
    for_each_element<T, X>(in, n, [&](int64_t at, double error, const BoundTerm<double>& term) {
      T* d = dprediction.as<T>() + at;
      d[0] = static_cast<T>(static_cast<float>(of_error * error));
      d[in.target.shape[-1]] = static_cast<T>(static_cast<float>(of_term * term.by_log_variance));
    });
  });
}

}  // namespace imago
