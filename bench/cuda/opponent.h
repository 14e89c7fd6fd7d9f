// What a kernel is compared with: a call of one of NVIDIA's libraries.
#pragma once

#include <functional>
#include <string>

#include "kernels/backend.h"

namespace imago {

enum class ConvPass { kForward, kDgrad, kWgrad };

inline const char* operation_of(ConvPass pass) {
  return pass == ConvPass::kForward ? "conv2d" : pass == ConvPass::kDgrad ? "conv2d_dgrad" : "conv2d_wgrad";
}

/// One convolution, or with a 1x1 filter and h = 1 a product of matrices of w rows. All bfloat16, NHWC and
/// [K,R,S,C], sums in float32.
struct ConvCase {
  int64_t n, h, w, c, k;
  int filter = 3, stride = 1;

  Conv2dGeometry geometry() const { return {stride, filter / 2, filter / 2, filter / 2, filter / 2}; }
  int64_t out_h() const { return geometry().out_height(h, filter); }
  int64_t out_w() const { return geometry().out_width(w, filter); }
  bool is_product() const { return filter == 1 && stride == 1; }
  double flops() const { return 2.0 * static_cast<double>(n * out_h() * out_w() * k * c) * filter * filter; }
};

/// Its tensors on the device; which is written depends on the pass. kWgrad writes w.
struct ConvPointers {
  void *x, *w, *y;
};

/// One call of a library, on the stream of cuda_backend(); and the way it found, ready for any tensors of
/// the case's shapes.
using LibraryCall = std::function<void()>;
using LibraryAlgorithm = std::function<LibraryCall(const ConvPointers&)>;

/// Device memory that a library may use during a call.
struct LibraryWorkspace {
  void* memory;
  size_t bytes;
};

}  // namespace imago
