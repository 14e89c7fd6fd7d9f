// From a DType known at run time to a C++ type, and how the reference reads and writes tensors.
#pragma once

#include <type_traits>

#include "kernels/backend.h"

namespace imago::reference {

/// The type of biases, statistics, losses and parameter gradients beside activations of type T.
template <class T>
using VectorOf = std::conditional_t<std::is_same_v<T, double>, double, float>;

/// Calls f.operator()<T>() for the activation type T that `dtype` names:
///   dispatch("silu", x.dtype, [&]<class T>() { silu(x.as<T>(), x.numel(), y.as<T>()); });
template <class F>
void dispatch(const char* op, DType dtype, F&& f) {
  switch (dtype) {
    case DType::kFloat32: return f.template operator()<float>();
    case DType::kBFloat16: return f.template operator()<bf16>();
    case DType::kFloat64: return f.template operator()<double>();
    default: failure(op, ": activations of type ", dtype, " are not supported");
  }
}

/// The same for any element type: pixels and indices as well.
template <class F>
void dispatch_any(const char* op, DType dtype, F&& f) {
  switch (dtype) {
    case DType::kUInt8: return f.template operator()<uint8_t>();
    case DType::kInt32: return f.template operator()<int32_t>();
    case DType::kInt64: return f.template operator()<int64_t>();
    default: return dispatch(op, dtype, f);
  }
}

/// Element i of a small float32 or float64 vector.
inline double number_at(ConstTensorRef v, int64_t i) {
  return v.dtype == DType::kFloat64 ? v.as<double>()[i] : static_cast<double>(v.as<float>()[i]);
}

/// One tensor, or two side by side along the channels, addressed as one: view(pixel, c), where pixel counts
/// through [N,H,W].
template <class T>
class ConcatView {
 public:
  template <class Ref>
  explicit ConcatView(const BasicConcat<Ref>& x)
      : a_(x.a.template as<std::remove_const_t<T>>()),
        b_(x.b.template as<std::remove_const_t<T>>()),
        channels_a_(x.a.shape[-1]),
        channels_b_(x.channels() - channels_a_) {}
  T& operator()(int64_t pixel, int64_t c) const {
    return c < channels_a_ ? a_[pixel * channels_a_ + c] : b_[pixel * channels_b_ + c - channels_a_];
  }

 private:
  T *a_, *b_;
  int64_t channels_a_, channels_b_;
};

/// Gradients summed so far, beside a dx like them, as numbers: view(pixel, c). Zero where a source is absent.
template <class T>
class SoFarView {
 public:
  SoFarView(const Concat& so_far, const ConcatOut& dx)
      : a_(so_far.a.as<T>()),
        b_(so_far.b.as<T>()),
        channels_a_(dx.a.shape[-1]),
        channels_b_(dx.channels() - channels_a_) {}
  double operator()(int64_t pixel, int64_t c) const {
    if (c < channels_a_) return a_ ? static_cast<double>(a_[pixel * channels_a_ + c]) : 0.0;
    return b_ ? static_cast<double>(b_[pixel * channels_b_ + c - channels_a_]) : 0.0;
  }

 private:
  const T *a_, *b_;
  int64_t channels_a_, channels_b_;
};

}  // namespace imago::reference
