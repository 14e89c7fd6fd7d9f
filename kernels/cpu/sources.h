// One tensor, or two that stand for their concatenation along C, with typed pointers.
#pragma once

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

}  // namespace imago::cpu
