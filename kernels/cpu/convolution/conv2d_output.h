// Where the sums of our own convolutions go: the epilogue of the forward pass, what dgrad adds to, and
// results in two parts. conv2d_direct.cpp and conv2d_winograd.cpp compute panels of output channels and write
// through this.
#pragma once

#include "kernels/cpu/parallel.h"
#include "kernels/cpu/sources.h"

namespace imago::cpu {

/// y = so_far + (sums + bias + per_image + residual) * scale; y in one or two parts. All but y may be absent.
template <class T>
struct Output {
  Sources<T> y;        // [N,Ho,Wo,K]
  const float* bias;   // [K]
  const T* per_image;  // [N,K]
  const T* residual;   // [N,Ho,Wo,K]
  float scale;
  Concat so_far;             // like y; added after the scale
  int64_t pixels_per_image;  // of per_image's images
};

/// The output channels in panels of `width`.
template <class T>
class OutputPanels {
 public:
  using Panel = typename Panels<T>::Panel;

  OutputPanels(const Output<T>& out, int64_t width) : out_(out), panels_(out.y, width) {}

  int64_t count() const { return panels_.count(); }
  Panel operator[](int64_t i) const { return panels_[i]; }

  /// The places of one output pixel's channels in everything that is read and written.
  struct Pixel {
    T* y;
    const float* bias;
    const T *per_image, *residual, *so_far;
  };
  /// Pixel `p` of the whole batch.
  Pixel pixel(const Panel& c, int64_t p) const {
    const auto at = [&](auto* x) { return x ? x + p * c.stride + c.first : nullptr; };
    return {at(c.data), out_.bias ? out_.bias + c.offset : nullptr,
            out_.per_image ? out_.per_image + p / out_.pixels_per_image * c.stride + c.first : nullptr,
            at(out_.residual), at((c.in_b ? out_.so_far.b : out_.so_far.a).template as<T>())};
  }
  /// Channels [k, k + lanes) of a pixel.
  void write(const Pixel& to, int64_t k, int64_t lanes, Vec sum) const {
    if (to.bias) sum += load_up_to(to.bias + k, lanes);
    if (to.per_image) sum += load_up_to(to.per_image + k, lanes);
    if (to.residual) sum += load_up_to(to.residual + k, lanes);
    sum *= out_.scale;
    if (to.so_far) sum += load_up_to(to.so_far + k, lanes);
    store_up_to(to.y + k, sum, lanes);
  }

 private:
  Output<T> out_;
  Panels<T> panels_;
};

}  // namespace imago::cpu
