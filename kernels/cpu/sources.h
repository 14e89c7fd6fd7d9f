// One tensor, or two that stand for their concatenation along C, with typed pointers.
#pragma once

#include <algorithm>
#include <type_traits>

#include "kernels/backend.h"

namespace imago::cpu {

template <class T>
struct Sources {
  T *a, *b;
  int64_t channels_a, channels_b;

  Sources(T* a, int64_t channels_a, T* b = nullptr, int64_t channels_b = 0)
      : a(a), b(b), channels_a(channels_a), channels_b(channels_b) {}
  template <class Ref>
  explicit Sources(const BasicConcat<Ref>& x)
      : a(x.a.template as<std::remove_const_t<T>>()),
        b(x.b.template as<std::remove_const_t<T>>()),
        channels_a(x.a.shape[-1]),
        channels_b(x.b ? x.b.shape[-1] : 0) {}
  int64_t channels() const { return channels_a + channels_b; }

  /// f(pointer to pixel 0, channels, where these channels start in the concatenation)
  template <class F>
  void for_each(F&& f) const {
    f(a, channels_a, int64_t{0});
    if (channels_b) f(b, channels_b, channels_a);
  }
};

/// The channels of one or two tensors in panels of `width`. A panel belongs to one of them, so the last one
/// of each may be narrower.
template <class T>
class Panels {
 public:
  struct Panel {
    T* data;                       // pixel 0 of its tensor
    int64_t stride, first, count;  // channels of a pixel; of them the panel's first, and how many
    int64_t offset;                // of the first one in the concatenation
    bool in_b;
  };

  Panels(const Sources<T>& x, int64_t width)
      : x_(x), width_(width), panels_a_((x.channels_a + width - 1) / width) {}

  int64_t count() const { return panels_a_ + (x_.channels_b + width_ - 1) / width_; }
  Panel operator[](int64_t i) const {
    const bool in_b = i >= panels_a_;
    const int64_t stride = in_b ? x_.channels_b : x_.channels_a, first = (in_b ? i - panels_a_ : i) * width_;
    return {in_b ? x_.b : x_.a,
            stride,
            first,
            std::min(width_, stride - first),
            first + (in_b ? x_.channels_a : 0),
            in_b};
  }

 private:
  Sources<T> x_;
  int64_t width_, panels_a_;
};

}  // namespace imago::cpu
