// Group normalisation (Wu & He 2018), with scale-shift and SiLU as the U-Net wants them.
//
// Per image n and group g of C/G channels, over its M = pixels * C/G elements:
//   mean = sum x / M,   var = sum (x - mean)^2 / M,   rstd = 1 / sqrt(var + eps)
//   xhat = (x - mean) rstd h = xhat gamma + beta, or with scale-shift (xhat gamma + beta) (1 +
//   scale) + shift y = h, or silu(h)
#include <cmath>

#include "kernels/reference/reference_backend.h"
#include "kernels/reference/types.h"

namespace imago {

using namespace reference;

namespace {

/// All that the loops of both directions need. Types T: activations, V: vectors.
template <class T>
struct Problem {
  using V = VectorOf<T>;
  ConcatView<const T> x;
  int64_t images, pixels, channels, groups, group_channels;
  const V *gamma, *beta;
  const T* scale_shift;  // [N,2C]: C scales, then C shifts; or null
  bool activated;

  Problem(const Concat& in, ConstTensorRef gamma, ConstTensorRef beta, ConstTensorRef scale_shift,
          const GroupNormConfig& config)
      : x(in),
        images(in.a.shape[0]),
        pixels(in.a.numel() / (images * in.a.shape[-1])),
        channels(in.channels()),
        groups(config.groups),
        group_channels(channels / groups),
        gamma(gamma.as<V>()),
        beta(beta.as<V>()),
        scale_shift(scale_shift.as<T>()),
        activated(config.activation == Activation::kSilu) {
    check(channels % groups == 0, "group_norm: ", channels, " channels in ", groups, " groups");
  }
  double scale(int64_t n, int64_t c) const { return scale_shift ? scale_shift[2 * n * channels + c] : 0.0; }
  double shift(int64_t n, int64_t c) const {
    return scale_shift ? scale_shift[(2 * n + 1) * channels + c] : 0.0;
  }
  /// h before the activation, from xhat.
  double affine(int64_t n, int64_t c, double xhat) const {
    return (xhat * gamma[c] + beta[c]) * (1 + scale(n, c)) + shift(n, c);
  }
};

double silu(double h) {
  return h / (1 + std::exp(-h));
}

double silu_derivative(double h) {  // s (1 + h (1 - s))
  const double s = 1 / (1 + std::exp(-h));
  return s * (1 + h * (1 - s));
}

/// f(pixel, c) for every element of group g of image n.
template <class T, class F>
void for_group(const Problem<T>& p, int64_t n, int64_t g, F&& f) {
  for (int64_t pixel = n * p.pixels; pixel < (n + 1) * p.pixels; ++pixel) {
    for (int64_t c = g * p.group_channels; c < (g + 1) * p.group_channels; ++c) f(pixel, c);
  }
}

template <class T>
void forward(const Problem<T>& p, double eps, T* y, VectorOf<T>* statistics) {
  const double count = static_cast<double>(p.pixels * p.group_channels);  // M
#pragma omp parallel for collapse(2)
  for (int64_t n = 0; n < p.images; ++n) {
    for (int64_t g = 0; g < p.groups; ++g) {
      double sum = 0;
      for_group(p, n, g, [&](int64_t pixel, int64_t c) { sum += p.x(pixel, c); });
      const double mean = sum / count;

      double squares = 0;
      for_group(p, n, g, [&](int64_t pixel, int64_t c) {
        const double centred = p.x(pixel, c) - mean;
        squares += centred * centred;
      });
      const double rstd = 1 / std::sqrt(squares / count + eps);

      for_group(p, n, g, [&](int64_t pixel, int64_t c) {
        const double h = p.affine(n, c, (p.x(pixel, c) - mean) * rstd);
        y[pixel * p.channels + c] = static_cast<T>(p.activated ? silu(h) : h);
      });
      statistics[(n * p.groups + g) * 2] = static_cast<VectorOf<T>>(mean);
      statistics[(n * p.groups + g) * 2 + 1] = static_cast<VectorOf<T>>(rstd);
    }
  }
}

// With dh = dy act'(h) (1 + scale), the gradient with respect to xhat gamma + beta:
//   dgamma[c] += sum dh xhat,   dbeta[c] += sum dh
//   dx = so_far + rstd (dh gamma - mean_g(dh gamma) - xhat mean_g(dh gamma xhat))
// The two means are how x moves its own mean and variance.
template <class T>
class Backward {
 public:
  Backward(const Problem<T>& p, const T* dy, const VectorOf<T>* statistics)
      : p_(p), dy_(dy), statistics_(statistics) {}

  void data_gradient(const Concat& so_far_ref, const ConcatOut& dx_ref) const {
    const ConcatView<T> dx(dx_ref);
    const SoFarView<T> so_far(so_far_ref, dx_ref);
    const double count = static_cast<double>(p_.pixels * p_.group_channels);
#pragma omp parallel for collapse(2)
    for (int64_t n = 0; n < p_.images; ++n) {
      for (int64_t g = 0; g < p_.groups; ++g) {
        double sum = 0, sum_xhat = 0;
        for_group(p_, n, g, [&](int64_t pixel, int64_t c) {
          const double dxhat = activation_gradient(n, pixel, c) * (1 + p_.scale(n, c)) * p_.gamma[c];
          sum += dxhat;
          sum_xhat += dxhat * xhat(n, pixel, c);
        });
        for_group(p_, n, g, [&](int64_t pixel, int64_t c) {
          const double dxhat = activation_gradient(n, pixel, c) * (1 + p_.scale(n, c)) * p_.gamma[c];
          const double own = rstd(n, c) * (dxhat - sum / count - xhat(n, pixel, c) * sum_xhat / count);
          dx(pixel, c) = static_cast<T>(so_far(pixel, c) + own);
        });
      }
    }
  }

  void parameter_gradients(VectorOf<T>* dgamma, VectorOf<T>* dbeta, T* dscale_shift) const {
    for (int64_t c = 0; c < p_.channels; ++c) {
      double sum_gamma = 0, sum_beta = 0;
      for (int64_t n = 0; n < p_.images; ++n) {
        double sum_scale = 0, sum_shift = 0;
        for (int64_t pixel = n * p_.pixels; pixel < (n + 1) * p_.pixels; ++pixel) {
          const double dh = activation_gradient(n, pixel, c), x = xhat(n, pixel, c);
          sum_scale += dh * (x * p_.gamma[c] + p_.beta[c]);
          sum_shift += dh;
          sum_gamma += dh * (1 + p_.scale(n, c)) * x;
          sum_beta += dh * (1 + p_.scale(n, c));
        }
        if (dscale_shift) {
          dscale_shift[2 * n * p_.channels + c] = static_cast<T>(sum_scale);
          dscale_shift[(2 * n + 1) * p_.channels + c] = static_cast<T>(sum_shift);
        }
      }
      if (dgamma) dgamma[c] = static_cast<VectorOf<T>>(dgamma[c] + sum_gamma);
      if (dbeta) dbeta[c] = static_cast<VectorOf<T>>(dbeta[c] + sum_beta);
    }
  }

 private:
  const VectorOf<T>* statistic(int64_t n, int64_t c) const {
    return statistics_ + (n * p_.groups + c / p_.group_channels) * 2;
  }
  double rstd(int64_t n, int64_t c) const {
    return statistic(n, c)[1];
  }
  double xhat(int64_t n, int64_t pixel, int64_t c) const {
    return (p_.x(pixel, c) - static_cast<double>(statistic(n, c)[0])) * rstd(n, c);
  }
  /// dy act'(h)
  double activation_gradient(int64_t n, int64_t pixel, int64_t c) const {
    const double dy = dy_[pixel * p_.channels + c];
    return p_.activated ? dy * silu_derivative(p_.affine(n, c, xhat(n, pixel, c))) : dy;
  }

  const Problem<T>& p_;
  const T* dy_;
  const VectorOf<T>* statistics_;
};

}  // namespace

void ReferenceBackend::group_norm(const Concat& x, ConstTensorRef gamma, ConstTensorRef beta,
                                  ConstTensorRef scale_shift, const GroupNormConfig& config, TensorRef y,
                                  TensorRef statistics, Workspace&) {
  dispatch("group_norm", y.dtype, [&]<class T>() {
    forward(Problem<T>(x, gamma, beta, scale_shift, config), config.eps, y.as<T>(),
            statistics.as<VectorOf<T>>());
  });
}

void ReferenceBackend::group_norm_backward(ConstTensorRef dy, const Concat& x, ConstTensorRef gamma,
                                           ConstTensorRef beta, ConstTensorRef scale_shift,
                                           ConstTensorRef statistics, const GroupNormConfig& config,
                                           const Concat& so_far, const ConcatOut& dx, TensorRef dgamma,
                                           TensorRef dbeta, TensorRef dscale_shift, Workspace&) {
  dispatch("group_norm_backward", dy.dtype, [&]<class T>() {
    const Problem<T> problem(x, gamma, beta, scale_shift, config);
    const Backward<T> backward(problem, dy.as<T>(), statistics.as<VectorOf<T>>());
    backward.data_gradient(so_far, dx);
    backward.parameter_gradients(dgamma.as<VectorOf<T>>(), dbeta.as<VectorOf<T>>(), dscale_shift.as<T>());
  });
}

}  // namespace imago
