// GroupNorm's backward, in the two sweeps of its forward.
//
// With dh = dy activation'(h) (1 + scale), the gradient is
//   dx = so_far + rstd (dh gamma - mean_g(dh gamma) - xhat mean_g(dh gamma xhat)).
// The first sweep recomputes h from x and the statistics (nothing else was saved) and adds up, for every
// channel, S1 = sum dh' and S2 = sum dh' (x - mean), where dh' = dy activation'(h). All other sums follow
// from these two: dbeta, dgamma, dscale, dshift and the groups' means. The second sweep writes dx. In float32
// the first leaves dh' in dx's memory, which saves the second its exp(); in bfloat16 that would round it, so
// it is computed again.
#include <type_traits>

#include "kernels/cpu/columns.h"
#include "kernels/cpu/cpu_backend.h"
#include "kernels/cpu/norm/group_norm.h"
#include "kernels/cpu/simd_math.h"

namespace imago {

using namespace cpu;

namespace {

template <class T>
struct Backward {
  GroupNormShape shape;
  const T* dy;  // [N,P,C]
  Sources<const T> x;
  Concat so_far;  // like dx; sources may be absent
  Sources<T> dx;
  const float *gamma, *beta;
  const T* scale_shift;     // [N,2C] or null
  const float* statistics;  // [N,G,2]
  bool activation;
  T* dscale_shift;  // [N,2C] or null
  float* partial;   // [N,chunks,2,C]: S1, S2 of every chunk
  float* sums;      // [N,2,C]: S1, S2 rstd of every image
  float* affine;    // [N,6,C]: mean, factor, offset of h; then of dx = dh' a - (x - mean) b - c: a, b, c

  static constexpr bool kKeepsDh = std::is_same_v<T, float>;

  float* line(int64_t n, int which) const { return affine + (n * 6 + which) * shape.channels; }

  void prepare(int64_t n) const {
    const int64_t c = shape.channels, per_group = shape.per_group();
    for (int64_t g = 0; g < shape.groups; ++g) {
      channel_affine(gamma, beta, scale_shift ? scale_shift + n * 2 * c : nullptr, c,
                     statistics + (n * shape.groups + g) * 2, g * per_group, (g + 1) * per_group, line(n, 0),
                     line(n, 1), line(n, 2));
    }
  }

  /// First sweep.
  void measure(int64_t n, int64_t chunk) const {
    if (activation) {
      measure_as<true>(n, chunk);
    } else {
      measure_as<false>(n, chunk);
    }
  }
  template <bool kSilu>
  void measure_as(int64_t n, int64_t chunk) const {
    const int64_t c = shape.channels, first = shape.row(n, chunk), rows = shape.rows(chunk);
    float* s1 = partial + (n * shape.chunks + chunk) * 2 * c;
    float* s2 = s1 + c;
    std::fill(s1, s1 + 2 * c, 0.0f);
    for_each_source([&](const T* xs, const T*, T* dxs, int64_t channels, int64_t begin) {
      const float *m = line(n, 0) + begin, *f = line(n, 1) + begin, *o = line(n, 2) + begin;
      for (int64_t row = first; row < first + rows; ++row) {
        const T *px = xs + row * channels, *pdy = dy + row * c + begin;
        T* pdx = dxs + row * channels;
        float *p1 = s1 + begin, *p2 = s2 + begin;
        vector_loop(0, channels, [&](int64_t i, int64_t lanes) {
          const Vec centered = load_up_to(px + i, lanes) - load_up_to(m + i, lanes);
          Vec dh = load_up_to(pdy + i, lanes);
          if (kSilu) dh *= silu_derivative(centered * load_up_to(f + i, lanes) + load_up_to(o + i, lanes));
          store_up_to(p1 + i, load_up_to(p1 + i, lanes) + dh, lanes);
          store_up_to(p2 + i, load_up_to(p2 + i, lanes) + dh * centered, lanes);
          if constexpr (kKeepsDh && kSilu) store_up_to(pdx + i, dh, lanes);
        });
      }
    });
  }

  /// Joins the chunks of image n: its sums, dscale and dshift, and the numbers of the second sweep.
  void join(int64_t n) const {
    const int64_t c = shape.channels, per_group = shape.per_group();
    float *s1 = sums + n * 2 * c, *s2 = s1 + c, *a = line(n, 3), *b = line(n, 4), *offset = line(n, 5);
    for (int64_t g = 0; g < shape.groups; ++g) {
      const double rstd = statistics[(n * shape.groups + g) * 2 + 1];
      double group1 = 0, group2 = 0;
      for (int64_t i = g * per_group; i < (g + 1) * per_group; ++i) {
        double total1 = 0, total2 = 0;
        for (int64_t chunk = 0; chunk < shape.chunks; ++chunk) {
          const float* p = partial + (n * shape.chunks + chunk) * 2 * c;
          total1 += p[i];
          total2 += p[c + i];
        }
        total2 *= rstd;
        const double scale = scale_shift ? 1.0 + static_cast<float>(scale_shift[n * 2 * c + i]) : 1.0;
        if (dscale_shift) {
          dscale_shift[n * 2 * c + i] =
              static_cast<T>(static_cast<float>(total2 * gamma[i] + total1 * beta[i]));
          dscale_shift[n * 2 * c + c + i] = static_cast<T>(static_cast<float>(total1));
        }
        s1[i] = static_cast<float>(total1 * scale);
        s2[i] = static_cast<float>(total2 * scale);
        group1 += total1 * scale * gamma[i];
        group2 += total2 * scale * gamma[i];
        a[i] = static_cast<float>(rstd * scale * gamma[i]);
      }
      const double count = static_cast<double>(shape.pixels * per_group);
      std::fill(b + g * per_group, b + (g + 1) * per_group, static_cast<float>(rstd * rstd * group2 / count));
      std::fill(offset + g * per_group, offset + (g + 1) * per_group,
                static_cast<float>(rstd * group1 / count));
    }
  }

  /// Second sweep.
  void apply(int64_t n, int64_t chunk) const {
    if (activation) {
      apply_as<true>(n, chunk);
    } else {
      apply_as<false>(n, chunk);
    }
  }
  template <bool kSilu>
  void apply_as(int64_t n, int64_t chunk) const {
    const int64_t first = shape.row(n, chunk), rows = shape.rows(chunk);
    for_each_source([&](const T* xs, const T* sums, T* dxs, int64_t channels, int64_t begin) {
      const float *m = line(n, 0) + begin, *f = line(n, 1) + begin, *o = line(n, 2) + begin;
      const float *a = line(n, 3) + begin, *b = line(n, 4) + begin, *offset = line(n, 5) + begin;
      for (int64_t row = first; row < first + rows; ++row) {
        const T *px = xs + row * channels, *pdy = dy + row * shape.channels + begin;
        const T* sum = sums ? sums + row * channels : nullptr;
        T* pdx = dxs + row * channels;
        vector_loop(0, channels, [&](int64_t i, int64_t lanes) {
          const Vec centered = load_up_to(px + i, lanes) - load_up_to(m + i, lanes);
          Vec dh;
          if constexpr (kKeepsDh && kSilu) {
            dh = load_up_to(pdx + i, lanes);
          } else {
            dh = load_up_to(pdy + i, lanes);
            if (kSilu) dh *= silu_derivative(centered * load_up_to(f + i, lanes) + load_up_to(o + i, lanes));
          }
          Vec v = dh * load_up_to(a + i, lanes) - centered * load_up_to(b + i, lanes) -
                  load_up_to(offset + i, lanes);
          if (sum) v += load_up_to(sum + i, lanes);
          store_up_to(pdx + i, v, lanes);
        });
      }
    });
  }

  /// f(x, so_far, dx, channels, first channel) for each source.
  template <class F>
  void for_each_source(F&& f) const {
    f(x.a, so_far.a.template as<T>(), dx.a, x.channels_a, int64_t{0});
    if (x.channels_b) f(x.b, so_far.b.template as<T>(), dx.b, x.channels_b, x.channels_a);
  }

  /// dbeta += sum_n S1, dgamma += sum_n S2 rstd, in the order of n.
  void add_parameter_gradients(float* dgamma, float* dbeta) const {
    const int64_t c = shape.channels;
    for (int64_t i = 0; i < c; ++i) {
      double total1 = 0, total2 = 0;
      for (int64_t n = 0; n < shape.images; ++n) {
        total1 += sums[n * 2 * c + i];
        total2 += sums[n * 2 * c + c + i];
      }
      if (dbeta) dbeta[i] = static_cast<float>(dbeta[i] + total1);
      if (dgamma) dgamma[i] = static_cast<float>(dgamma[i] + total2);
    }
  }
};

}  // namespace

void CpuBackend::group_norm_backward(ConstTensorRef dy, const Concat& x, ConstTensorRef gamma,
                                     ConstTensorRef beta, ConstTensorRef scale_shift,
                                     ConstTensorRef statistics, const GroupNormConfig& config,
                                     const Concat& so_far, const ConcatOut& dx, TensorRef dgamma,
                                     TensorRef dbeta, TensorRef dscale_shift, Workspace& workspace) {
  const GroupNormShape shape(x.a.shape, x.channels(), config.groups);
  if (dy.numel() == 0) return;
  const int64_t partial = shape.images * shape.chunks * 2 * shape.channels;
  const int64_t sums = shape.images * 2 * shape.channels, affine = shape.images * 6 * shape.channels;
  Scratch scratch(workspace, Scratch::bytes_of<float>(partial) + Scratch::bytes_of<float>(sums) +
                                 Scratch::bytes_of<float>(affine));
  dispatch("group_norm_backward", dy.dtype, [&]<class T>() {
    Backward<T> b{shape,
                  dy.as<T>(),
                  Sources<const T>(x),
                  so_far,
                  Sources<T>(dx),
                  gamma.as<float>(),
                  beta.as<float>(),
                  scale_shift.as<T>(),
                  statistics.as<float>(),
                  config.activation == Activation::kSilu,
                  dscale_shift.as<T>(),
                  scratch.take<float>(partial),
                  scratch.take<float>(sums),
                  scratch.take<float>(affine)};
    for (int64_t n = 0; n < shape.images; ++n) b.prepare(n);
    two_sweeps(
        shape, [&](int64_t n, int64_t chunk) { b.measure(n, chunk); }, [&](int64_t n) { b.join(n); },
        [&](int64_t n, int64_t chunk) { b.apply(n, chunk); });
    b.add_parameter_gradients(dgamma.as<float>(), dbeta.as<float>());
  });
}

}  // namespace imago
