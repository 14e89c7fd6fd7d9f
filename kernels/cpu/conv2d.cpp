// Convolution and its gradients by oneDNN (kernels/cpu/conv2d_onednn.h), with what it lacks around it.
//
//   Two sources.  conv(concat(a, b), w) = conv(a, w[..., :Ca]) + conv(b, w[..., Ca:]): one convolution a source,
//                 each with its channels of the weights; the second adds to the first's result. The gradients
//                 take one convolution a source, too. The concatenation is never made.
//   bfloat16.     Where the CPU cannot multiply it, operands are widened to float32 in the workspace (a few
//                 percent of the convolution's time) and the result is rounded once, at the end.
//   Epilogue.     The bias goes into the primitive; per-image bias, residual and scale take one pass over y,
//                 which in bfloat16 is the rounding pass anyway.
#include "kernels/cpu/columns.h"
#include "kernels/cpu/conv2d_onednn.h"
#include "kernels/cpu/cpu_backend.h"
#include "kernels/cpu/scratch.h"

namespace imago {

using namespace cpu;
using onednn::Pass;

namespace {

/// Both sources' parts of one convolution: weights w[..., first : first + c].
struct Part {
  onednn::Conv2d conv;
  int64_t first;  // of its channels in the concatenation
};

struct Parts {
  Part part[2];
  int count;

  Parts(const Shape& a, int64_t channels_b, const Shape& w, const Shape& y, const Conv2dGeometry& g,
        DType type) {
    const int64_t channels_a = a[3];
    onednn::Conv2d c{a[0], a[1],     a[2],  channels_a, w[0],     w[1],    w[2], y[1],
                     y[2], g.stride, g.top, g.left,     g.bottom, g.right, w[3], type};
    part[0] = {c, 0};
    c.c = channels_b;
    part[1] = {c, channels_a};
    count = channels_b > 0 ? 2 : 1;
  }
};

/// Whether operands of this type must be widened to float32 first.
bool must_widen(DType type) {
  return type == DType::kBFloat16 && !onednn::has_bfloat16();
}

/// A tensor as oneDNN gets it: itself, or its float32 copy in scratch.
class Widened {
 public:
  Widened(const ConstTensorRef& t, bool widen) : ref_(t), widen_(widen && bool(t)) {}
  size_t bytes() const { return widen_ ? Scratch::bytes_of<float>(ref_.numel()) : 0; }
  /// Takes the memory; the contents are converted if `load`.
  void* place(Scratch& scratch, bool load) {
    if (!widen_) return const_cast<void*>(ref_.data);
    float* out = scratch.take<float>(ref_.numel());
    if (load) {
      const bf16* in = ref_.as<bf16>();
      parallel_vectors(ref_.numel(), [=](int64_t i, int64_t lanes) {
        store_up_to(out + i, load_up_to(in + i, lanes), lanes);
      });
    }
    return out;
  }

 private:
  ConstTensorRef ref_;
  bool widen_;
};

/// y = (v + per_image_bias[n,k] + residual) * scale, from `v` (float32, or y itself in place). [N,P,K]
template <class In, class T>
void finish(const In* v, const Conv2dEpilogue& e, int64_t pictures, int64_t pixels, int64_t channels, T* y) {
  const T *per_image = e.per_image_bias.as<T>(), *residual = e.residual.as<T>();
  const float scale = e.scale;
  const int64_t rows = rows_per_chunk(channels);
  parallel_chunks(pictures * pixels, rows, [=](int64_t begin, int64_t end) {
    for (int64_t row = begin; row < end; ++row) {
      const T* shift = per_image ? per_image + row / pixels * channels : nullptr;
      const int64_t base = row * channels;
      vector_loop(0, channels, [=](int64_t c, int64_t lanes) {
        Vec out = load_up_to(v + base + c, lanes);
        if (shift) out += load_up_to(shift + c, lanes);
        if (residual) out += load_up_to(residual + base + c, lanes);
        store_up_to(y + base + c, scale * out, lanes);
      });
    }
  });
}

/// y[i] = scale * x[i]; x may be y.
template <class X, class T>
void scale_into(const X* x, float scale, int64_t n, T* y) {
  parallel_vectors(
      n, [=](int64_t i, int64_t lanes) { store_up_to(y + i, scale * load_up_to(x + i, lanes), lanes); });
}

}  // namespace

void CpuBackend::conv2d(const Concat& x, ConstTensorRef w, const Conv2dGeometry& geometry,
                        const Conv2dEpilogue& epilogue, TensorRef y, Workspace& workspace) {
  if (y.numel() == 0) return;
  const bool widen = must_widen(y.dtype);
  const Parts parts(x.a.shape, x.b ? x.b.shape[3] : 0, w.shape, y.shape, geometry,
                    widen ? DType::kFloat32 : y.dtype);
  const Pass passes[2] = {epilogue.bias ? Pass::kForwardBias : Pass::kForward, Pass::kForwardAccumulate};
  Widened xs[2] = {{x.a, widen}, {x.b, widen}}, weights(w, widen), result(y, widen);
  size_t own = 0;
  for (int i = 0; i < parts.count; ++i)
    own = std::max(own, onednn::scratch_bytes(passes[i], parts.part[i].conv, 1));
  Scratch scratch(workspace, xs[0].bytes() + xs[1].bytes() + weights.bytes() + result.bytes() + own);

  char* pw = static_cast<char*>(weights.place(scratch, true));
  void* py = result.place(scratch, false);
  void* px[2] = {xs[0].place(scratch, true), parts.count > 1 ? xs[1].place(scratch, true) : nullptr};
  char* rest = scratch.take<char>(0);
  for (int i = 0; i < parts.count; ++i) {
    const auto& [conv, first] = parts.part[i];
    onednn::run(passes[i], conv,
                {px[i], pw + first * int64_t(size_of(conv.dtype)), py, epilogue.bias.as<float>()}, 1, rest);
  }
  if (!widen && !epilogue.per_image_bias && !epilogue.residual && epilogue.scale == 1) return;
  dispatch("conv2d", y.dtype, [&]<class T>() {
    const int64_t n = y.shape[0], k = y.shape[3], pixels = y.numel() / (n * k);
    if (widen) {
      finish(static_cast<const float*>(py), epilogue, n, pixels, k, y.as<T>());
    } else {
      finish(y.as<T>(), epilogue, n, pixels, k, y.as<T>());
    }
  });
}

void CpuBackend::conv2d_dgrad(ConstTensorRef dy, ConstTensorRef w, const Conv2dGeometry& geometry,
                              float scale, const ConcatOut& dx, Workspace& workspace) {
  if (dx.a.numel() == 0) return;
  const bool widen = must_widen(dy.dtype);
  const Parts parts(dx.a.shape, dx.b ? dx.b.shape[3] : 0, w.shape, dy.shape, geometry,
                    widen ? DType::kFloat32 : dy.dtype);
  const TensorRef targets[2] = {dx.a, dx.b};
  Widened gradient(dy, widen), weights(w, widen), results[2] = {{dx.a, widen}, {dx.b, widen}};
  size_t own = 0;
  for (int i = 0; i < parts.count; ++i) {
    own = std::max(own, onednn::scratch_bytes(Pass::kDgrad, parts.part[i].conv, 1));
  }
  Scratch scratch(workspace,
                  gradient.bytes() + weights.bytes() + results[0].bytes() + results[1].bytes() + own);

  void* pdy = gradient.place(scratch, true);
  char* pw = static_cast<char*>(weights.place(scratch, true));
  void* pdx[2] = {results[0].place(scratch, false),
                  parts.count > 1 ? results[1].place(scratch, false) : nullptr};
  char* rest = scratch.take<char>(0);
  for (int i = 0; i < parts.count; ++i) {
    const auto& [conv, first] = parts.part[i];
    onednn::run(Pass::kDgrad, conv, {pdx[i], pw + first * int64_t(size_of(conv.dtype)), pdy}, 1, rest);
    if (!widen && scale == 1) continue;
    dispatch("conv2d_dgrad", dy.dtype, [&]<class T>() {
      if (widen) {
        scale_into(static_cast<const float*>(pdx[i]), scale, targets[i].numel(), targets[i].as<T>());
      } else {
        scale_into(targets[i].as<T>(), scale, targets[i].numel(), targets[i].as<T>());
      }
    });
  }
}

void CpuBackend::conv2d_wgrad(const Concat& x, ConstTensorRef dy, const Conv2dGeometry& geometry, float scale,
                              TensorRef dw, Workspace& workspace) {
  if (x.a.numel() == 0 || dw.numel() == 0) return;
  const bool widen = must_widen(dy.dtype);
  const Parts parts(x.a.shape, x.b ? x.b.shape[3] : 0, dw.shape, dy.shape, geometry,
                    widen ? DType::kFloat32 : dy.dtype);
  Widened xs[2] = {{x.a, widen}, {x.b, widen}}, gradient(dy, widen);
  size_t own = 0;
  for (int i = 0; i < parts.count; ++i) {
    own = std::max(own, onednn::scratch_bytes(Pass::kWgrad, parts.part[i].conv, scale));
  }
  Scratch scratch(workspace, xs[0].bytes() + xs[1].bytes() + gradient.bytes() + own);

  void* pdy = gradient.place(scratch, true);
  void* px[2] = {xs[0].place(scratch, true), parts.count > 1 ? xs[1].place(scratch, true) : nullptr};
  char* rest = scratch.take<char>(0);
  for (int i = 0; i < parts.count; ++i) {
    const auto& [conv, first] = parts.part[i];
    onednn::run(Pass::kWgrad, conv, {px[i], dw.as<float>() + first, pdy}, scale, rest);
  }
}

namespace {

/// dbias[k] += scale sum_n,p dy[n,p,k]; dper_image[n,k] = scale sum_p. Chunks of rows, joined in order in float64.
template <class T>
void bias_gradients(const T* dy, int64_t pictures, int64_t pixels, int64_t channels, float scale,
                    float* partial, float* dbias, T* dper_image) {
  const int64_t rows = rows_per_chunk(channels), chunks = ceil_div(pixels, rows);
  parallel_items(pictures * chunks, [&](int64_t item) {
    const int64_t n = item / chunks, first = item % chunks * rows;
    column_sums(dy + (n * pixels + first) * channels, std::min(rows, pixels - first), channels, channels,
                partial + item * channels);
  });
  for (int64_t k = 0; k < channels; ++k) {
    double total = 0;
    for (int64_t n = 0; n < pictures; ++n) {
      double sum = 0;
      for (int64_t i = 0; i < chunks; ++i) sum += partial[(n * chunks + i) * channels + k];
      if (dper_image) dper_image[n * channels + k] = static_cast<T>(static_cast<float>(scale * sum));
      total += sum;
    }
    if (dbias) dbias[k] = static_cast<float>(dbias[k] + scale * total);
  }
}

}  // namespace

void CpuBackend::bias_grad(ConstTensorRef dy, float scale, TensorRef dbias, TensorRef dper_image,
                           Workspace& workspace) {
  if (dy.numel() == 0) return;
  const int64_t n = dy.shape[0], k = dy.shape[-1], pixels = dy.numel() / (n * k);
  const int64_t partial = n * ceil_div(pixels, rows_per_chunk(k)) * k;
  Scratch scratch(workspace, Scratch::bytes_of<float>(partial));
  dispatch("bias_grad", dy.dtype, [&]<class T>() {
    bias_gradients(dy.as<T>(), n, pixels, k, scale, scratch.take<float>(partial), dbias.as<float>(),
                   dper_image.as<T>());
  });
}

}  // namespace imago
