// Convolution and its gradients (Dumoulin & Visin 2016, "A guide to convolution arithmetic").
//
// One relation is behind all three loops. Output pixel (i,j) and filter tap (r,s) read input pixel
//   h = i * stride + r - top,   w = j * stride + s - left,
// or a zero where (h,w) lies outside. The forward pass sums over taps and channels, the gradient with
// respect to the data sums over the outputs that read a pixel, the one with respect to the weights over all
// places of the filter.
#include <vector>

#include "kernels/reference/reference_backend.h"
#include "kernels/reference/types.h"

namespace imago {

using namespace reference;

namespace {

/// All the sizes of one convolution.
struct Sizes {
  int64_t n, h, w, c, k, r, s, out_h, out_w;

  Sizes(const Shape& x, int64_t channels, const Shape& weights, const Conv2dGeometry& geometry)
      : n(x[0]),
        h(x[1]),
        w(x[2]),
        c(channels),
        k(weights[0]),
        r(weights[1]),
        s(weights[2]),
        out_h(geometry.out_height(h, r)),
        out_w(geometry.out_width(w, s)) {}
  int64_t pixel(int64_t in, int64_t ih, int64_t iw) const { return (in * h + ih) * w + iw; }
  int64_t out_pixel(int64_t in, int64_t i, int64_t j) const { return (in * out_h + i) * out_w + j; }
  int64_t weight(int64_t ik, int64_t ir, int64_t is) const { return ((ik * r + ir) * s + is) * c; }
  bool inside(int64_t ih, int64_t iw) const { return ih >= 0 && ih < h && iw >= 0 && iw < w; }
};

// y[n,i,j,k] = (sum_{r,s,c} x[n,h,w,c] w[k,r,s,c] + bias[k] + per_image[n,k] + residual[n,i,j,k]) * scale
template <class T>
void forward(const Concat& x_ref, const T* w, const Sizes& z, const Conv2dGeometry& g,
             const Conv2dEpilogue& e, T* y) {
  const ConcatView<const T> x(x_ref);
#pragma omp parallel for collapse(2)
  for (int64_t n = 0; n < z.n; ++n) {
    for (int64_t i = 0; i < z.out_h; ++i) {
      for (int64_t j = 0; j < z.out_w; ++j) {
        for (int64_t k = 0; k < z.k; ++k) {
          double sum = 0;
          for (int64_t r = 0; r < z.r; ++r) {
            for (int64_t s = 0; s < z.s; ++s) {
              const int64_t ih = i * g.stride + r - g.top, iw = j * g.stride + s - g.left;
              if (!z.inside(ih, iw)) continue;
              const T* tap = w + z.weight(k, r, s);
              for (int64_t c = 0; c < z.c; ++c) {
                sum += static_cast<double>(x(z.pixel(n, ih, iw), c)) * static_cast<double>(tap[c]);
              }
            }
          }
          const int64_t o = z.out_pixel(n, i, j) * z.k + k;
          if (e.bias) sum += e.bias.as<VectorOf<T>>()[k];
          if (e.per_image_bias) sum += e.per_image_bias.as<T>()[n * z.k + k];
          if (e.residual) sum += e.residual.as<T>()[o];
          y[o] = static_cast<T>(sum * e.scale);
        }
      }
    }
  }
}

// dx[n,h,w,c] = so_far[n,h,w,c] + scale * sum_{r,s} sum_k dy[n,i,j,k] w[k,r,s,c]
// over the (i,j) that read (h,w) at tap (r,s):
// i = (h + top - r) / stride where that is whole and lies in the output, j alike.
template <class T>
void data_gradient(const T* dy, const T* w, const Sizes& z, const Conv2dGeometry& g, double scale,
                   const Concat& so_far_ref, const ConcatOut& dx_ref) {
  const ConcatView<T> dx(dx_ref);
  const SoFarView<T> so_far(so_far_ref, dx_ref);
#pragma omp parallel for collapse(2)
  for (int64_t n = 0; n < z.n; ++n) {
    for (int64_t ih = 0; ih < z.h; ++ih) {
      std::vector<double> sum(static_cast<size_t>(z.c));
      for (int64_t iw = 0; iw < z.w; ++iw) {
        sum.assign(sum.size(), 0.0);
        for (int64_t r = 0; r < z.r; ++r) {
          for (int64_t s = 0; s < z.s; ++s) {
            const int64_t up = ih + g.top - r, across = iw + g.left - s;
            if (up < 0 || across < 0 || up % g.stride || across % g.stride) continue;
            const int64_t i = up / g.stride, j = across / g.stride;
            if (i >= z.out_h || j >= z.out_w) continue;
            for (int64_t k = 0; k < z.k; ++k) {
              const double gradient = dy[z.out_pixel(n, i, j) * z.k + k];
              const T* tap = w + z.weight(k, r, s);
              for (int64_t c = 0; c < z.c; ++c) sum[c] += gradient * tap[c];
            }
          }
        }
        const int64_t pixel = z.pixel(n, ih, iw);
        for (int64_t c = 0; c < z.c; ++c) dx(pixel, c) = static_cast<T>(so_far(pixel, c) + scale * sum[c]);
      }
    }
  }
}

// dw[k,r,s,c] += scale * sum_{n,i,j} dy[n,i,j,k] x[n,h,w,c]
template <class T>
void weight_gradient(const Concat& x_ref, const T* dy, const Sizes& z, const Conv2dGeometry& g, double scale,
                     VectorOf<T>* dw) {
  const ConcatView<const T> x(x_ref);
#pragma omp parallel for
  for (int64_t k = 0; k < z.k; ++k) {
    std::vector<double> sum(static_cast<size_t>(z.c));
    for (int64_t r = 0; r < z.r; ++r) {
      for (int64_t s = 0; s < z.s; ++s) {
        sum.assign(sum.size(), 0.0);
        for (int64_t n = 0; n < z.n; ++n) {
          for (int64_t i = 0; i < z.out_h; ++i) {
            for (int64_t j = 0; j < z.out_w; ++j) {
              const int64_t ih = i * g.stride + r - g.top, iw = j * g.stride + s - g.left;
              if (!z.inside(ih, iw)) continue;
              const double gradient = dy[z.out_pixel(n, i, j) * z.k + k];
              for (int64_t c = 0; c < z.c; ++c) sum[c] += gradient * x(z.pixel(n, ih, iw), c);
            }
          }
        }
        VectorOf<T>* tap = dw + z.weight(k, r, s);
        for (int64_t c = 0; c < z.c; ++c) tap[c] = static_cast<VectorOf<T>>(tap[c] + scale * sum[c]);
      }
    }
  }
}

/// sum_p dy[p,k]
template <class T>
double sum_of_pixels(const T* dy, int64_t pixels, int64_t channels, int64_t k) {
  double sum = 0;
  for (int64_t p = 0; p < pixels; ++p) sum += dy[p * channels + k];
  return sum;
}

}  // namespace

void ReferenceBackend::conv2d(const Concat& x, ConstTensorRef w, const Conv2dGeometry& geometry,
                              const Conv2dEpilogue& epilogue, TensorRef y, Workspace&) {
  const Sizes sizes(x.a.shape, x.channels(), w.shape, geometry);
  dispatch("conv2d", y.dtype,
           [&]<class T>() { forward<T>(x, w.as<T>(), sizes, geometry, epilogue, y.as<T>()); });
}

void ReferenceBackend::conv2d_dgrad(ConstTensorRef dy, ConstTensorRef w, const Conv2dGeometry& geometry,
                                    float scale, const Concat& so_far, const ConcatOut& dx, Workspace&) {
  const Sizes sizes(dx.a.shape, dx.channels(), w.shape, geometry);
  dispatch("conv2d_dgrad", dy.dtype,
           [&]<class T>() { data_gradient<T>(dy.as<T>(), w.as<T>(), sizes, geometry, scale, so_far, dx); });
}

void ReferenceBackend::conv2d_wgrad(const Concat& x, ConstTensorRef dy, const Conv2dGeometry& geometry,
                                    float scale, TensorRef dw, TensorRef dbias, Workspace&) {
  const Sizes sizes(x.a.shape, x.channels(), dw.shape, geometry);
  dispatch("conv2d_wgrad", dy.dtype, [&]<class T>() {
    using Vector = VectorOf<T>;
    weight_gradient<T>(x, dy.as<T>(), sizes, geometry, scale, dw.as<Vector>());
    const int64_t pixels = sizes.n * sizes.out_h * sizes.out_w;
    for (int64_t k = 0; dbias && k < sizes.k; ++k) {
      Vector& sum = dbias.as<Vector>()[k];
      sum = static_cast<Vector>(sum + scale * sum_of_pixels(dy.as<T>(), pixels, sizes.k, k));
    }
  });
}

void ReferenceBackend::per_image_bias_grad(ConstTensorRef dy, float scale, TensorRef dper_image, Workspace&) {
  const int64_t images = dy.shape[0], channels = dy.shape[-1];
  const int64_t image = dy.numel() / images;  // elements
  dispatch("per_image_bias_grad", dy.dtype, [&]<class T>() {
    for (int64_t n = 0; n < images; ++n)
      for (int64_t k = 0; k < channels; ++k)
        dper_image.as<T>()[n * channels + k] =
            static_cast<T>(scale * sum_of_pixels(dy.as<T>() + n * image, image / channels, channels, k));
  });
}

}  // namespace imago
