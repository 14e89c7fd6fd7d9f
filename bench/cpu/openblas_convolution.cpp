// y = im2col(x) w^T, with im2col(x) [Ho*Wo, R*S*C]: row (i,j) lists what the filter sees at pixel (i,j). Its
// gradients are the other two products of the same three matrices, dgrad with the sums of col2im behind it
// (Chellapilla 2006).
#include <cblas.h>
#include <omp.h>

#include <algorithm>
#include <vector>

#include "bench/cpu/opponent.h"

namespace imago {

namespace {

class OpenBlasConvolution final : public Opponent {
 public:
  OpenBlasConvolution(const ConvolutionCase& c, const ConvolutionOperands& o)
      : c_(c),
        o_(o),
        rows_(c.y[1] * c.y[2]),
        columns_(c.w[1] * c.w[2] * c.w[3]),
        matrix_(static_cast<size_t>(rows_ * columns_)) {
    openblas_set_num_threads(omp_get_max_threads());
  }

  void run() override {
    if (c_.pass == ConvolutionPass::kWgrad) std::fill_n(o_.w, c_.w.numel(), 0.0f);
    if (c_.pass == ConvolutionPass::kDgrad) std::fill_n(o_.x, c_.x.numel(), 0.0f);
    for (int64_t n = 0; n < c_.x[0]; ++n) run_image(n);
  }

 private:
  void run_image(int64_t n) {
    float* const x = o_.x + n * c_.x[1] * c_.x[2] * c_.x[3];
    float* const y = o_.y + n * rows_ * c_.y[3];
    float* const a = matrix_.data();
    const int m = static_cast<int>(rows_), k = static_cast<int>(c_.w[0]), rsc = static_cast<int>(columns_);
    switch (c_.pass) {
      case ConvolutionPass::kForward:  // y [M,K] = a [M,RSC] w^T [RSC,K]
        walk(
            x, [](float* pixel, float* entry, int64_t c) { std::copy_n(pixel, c, entry); }, true);
        cblas_sgemm(CblasRowMajor, CblasNoTrans, CblasTrans, m, k, rsc, 1, a, rsc, o_.w, rsc, 0, y, k);
        break;
      case ConvolutionPass::kDgrad:  // a = y w, then every entry is added to the pixel that it came from
        cblas_sgemm(CblasRowMajor, CblasNoTrans, CblasNoTrans, m, rsc, k, 1, y, k, o_.w, rsc, 0, a, rsc);
        walk(
            x,
            [](float* pixel, float* entry, int64_t c) {
              for (int64_t i = 0; i < c; ++i) pixel[i] += entry[i];
            },
            false);
        break;
      case ConvolutionPass::kWgrad:  // w [K,RSC] += y^T [K,M] a [M,RSC]
        walk(
            x, [](float* pixel, float* entry, int64_t c) { std::copy_n(pixel, c, entry); }, true);
        cblas_sgemm(CblasRowMajor, CblasTrans, CblasNoTrans, k, rsc, m, 1, y, k, a, rsc, 1, o_.w, rsc);
    }
  }

  /// visit(pixel, entry, C) for every pixel [C] of one image that the filter sees and its place in the
  /// matrix. In parallel only where a pixel is not written: neighbouring rows see the same pixels.
  template <class Visit>
  void walk(float* x, Visit visit, bool in_parallel) {
    const int64_t h = c_.x[1], w = c_.x[2], channels = c_.x[3], wo = c_.y[2], r_count = c_.w[1],
                  s_count = c_.w[2];
    const Conv2dGeometry& g = c_.geometry;
#pragma omp parallel for if (in_parallel)
    for (int64_t row = 0; row < rows_; ++row) {
      float* entry = matrix_.data() + row * columns_;
      for (int64_t r = 0; r < r_count; ++r) {
        for (int64_t s = 0; s < s_count; ++s, entry += channels) {
          const int64_t i = row / wo * g.stride + r - g.top, j = row % wo * g.stride + s - g.left;
          if (i >= 0 && i < h && j >= 0 && j < w) {
            visit(x + (i * w + j) * channels, entry, channels);
          } else {
            std::fill_n(entry, channels, 0.0f);
          }
        }
      }
    }
  }

  ConvolutionCase c_;
  ConvolutionOperands o_;
  int64_t rows_, columns_;
  std::vector<float> matrix_;  // [Ho*Wo, R*S*C]
};

}  // namespace

MakeOpponent openblas_convolution() {
  return [](const ConvolutionCase& c, const ConvolutionOperands& o) -> std::unique_ptr<Opponent> {
    return std::make_unique<OpenBlasConvolution>(c, o);
  };
}

}  // namespace imago
