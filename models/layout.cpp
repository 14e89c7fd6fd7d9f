#include "models/layout.h"

namespace imago {
namespace {

// x [N,A,B] -> [N,B,A]
std::vector<float> swap_inner(const std::vector<float>& x, int64_t n, int64_t a, int64_t b) {
  check(static_cast<int64_t>(x.size()) == n * a * b, "layout: ", x.size(), " elements for ", n * a * b);
  std::vector<float> y(x.size());
  for (int64_t i = 0; i < n; ++i)
    for (int64_t j = 0; j < b; ++j)
      for (int64_t k = 0; k < a; ++k) y[(i * b + j) * a + k] = x[(i * a + k) * b + j];
  return y;
}

}  // namespace

std::vector<float> nchw_to_nhwc(const std::vector<float>& x, const Shape& nchw) {
  check(nchw.rank() == 4, "nchw_to_nhwc: expected four dimensions, not ", nchw);
  return swap_inner(x, nchw[0], nchw[1], nchw[2] * nchw[3]);
}

std::vector<float> nhwc_to_nchw(const std::vector<float>& x, const Shape& nhwc) {
  check(nhwc.rank() == 4, "nhwc_to_nchw: expected four dimensions, not ", nhwc);
  return swap_inner(x, nhwc[0], nhwc[1] * nhwc[2], nhwc[3]);
}

}  // namespace imago
