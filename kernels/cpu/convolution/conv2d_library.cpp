// Convolution and its gradients by oneDNN (conv2d_onednn.h), with what it lacks around it.
//
//   Two sources.  conv(concat(a, b), w) = conv(a, w[..., :Ca]) + conv(b, w[..., Ca:]): one convolution a
//                 source, each with its channels of the weights; the second adds to the first's result. The
//                 gradients take one convolution a source, too. The concatenation is never made.
//   bfloat16.     Where the CPU cannot multiply it, operands are widened to float32 in the workspace. Results
//                 are rounded once, at the end: where more is to be added, oneDNN leaves them in float32.
//   dgrad.        The scale and the sum so far take one pass over dx (oneDNN's own sum is for forward only).
//   Epilogue.     The bias goes into the primitive; per-image bias, residual and scale take one pass over y.
//   dbias.        A pass of our own over dy. oneDNN's convolution can sum it, but its matrix product cannot,
//                 and for 3 -> 64 channels (32x32, batch 16, one thread with AVX2) its sum adds 0.65 ms to
//                 0.86, where a plain loop takes 0.08.
#include "kernels/cpu/convolution/conv2d_library.h"

#include "kernels/cpu/columns.h"
#include "kernels/cpu/convolution/conv2d_onednn.h"
#include "kernels/cpu/scratch.h"

namespace imago::cpu {

using onednn::Pass;

namespace {

/// Both sources' parts of one convolution: weights w[..., first : first + c].
struct Part {
  onednn::Conv2d conv;
  int64_t first;  // of its channels in the concatenation
};

struct Parts {
  Part part[2];
  Pass passes[2];
  int count;
  float scale;

  bool widened = false;  // whether operands must be widened to float32: no kernels for their own type

  /// pass: of the first part; the second one's forward accumulates. result: see onednn::Conv2d.
  Parts(Pass pass, const Shape& a, int64_t channels_b, const Shape& w, const Shape& y,
        const Conv2dGeometry& g, DType type, DType result, float wgrad_scale)
      : scale(wgrad_scale) {
    const int64_t channels_a = a[3];
    onednn::Conv2d c{a[0],     a[1],  a[2],   channels_a, w[0],    w[1], w[2], y[1],  y[2],
                     g.stride, g.top, g.left, g.bottom,   g.right, w[3], type, result};
    part[0] = {c, 0};
    c.c = channels_b;
    part[1] = {c, channels_a};
    count = channels_b > 0 ? 2 : 1;
    const bool forward = pass == Pass::kForward || pass == Pass::kForwardBias;
    passes[0] = pass;
    passes[1] = forward ? Pass::kForwardAccumulate : pass;
    for (int i = 0; i < count && type == DType::kBFloat16; ++i) {
      widened = widened || !onednn::can_run(passes[i], part[i].conv, scale);
    }
    if (!widened) return;
    for (Part& p : part) p.conv.dtype = p.conv.result = DType::kFloat32;
  }

  size_t scratch_bytes() const {
    size_t bytes = 0;
    for (int i = 0; i < count; ++i)
      bytes = std::max(bytes, onednn::scratch_bytes(passes[i], part[i].conv, scale));
    return bytes;
  }
  /// Runs part i; `w` points to the whole weights.
  void run(int i, onednn::Operands o, void* scratch) const {
    const auto& [conv, first] = part[i];
    const size_t element = passes[i] == Pass::kWgrad ? sizeof(float) : size_of(conv.dtype);
    o.w = static_cast<char*>(o.w) + first * static_cast<int64_t>(element);
    onednn::run(passes[i], conv, o, scale, scratch);
  }
};

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

/// y = (v + per_image_bias[n,k] + residual) * scale, rounded once; v may be y. [N,P,K]
template <class T>
void finish(const float* v, const Conv2dEpilogue& e, int64_t images, int64_t pixels, int64_t channels, T* y) {
  const T *per_image = e.per_image_bias.as<T>(), *residual = e.residual.as<T>();
  const float scale = e.scale;
  const int64_t rows = rows_per_chunk(channels);
  parallel_chunks(images * pixels, rows, [=](int64_t begin, int64_t end) {
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

/// dx[i] = so_far[i] + scale * v[i]; v may be dx, so_far null.
template <class T>
void add_scaled(const float* v, float scale, const T* so_far, int64_t n, T* dx) {
  parallel_vectors(n, [=](int64_t i, int64_t lanes) {
    Vec sum = scale * load_up_to(v + i, lanes);
    if (so_far) sum += load_up_to(so_far + i, lanes);
    store_up_to(dx + i, sum, lanes);
  });
}

}  // namespace

void library_forward(const Concat& x, ConstTensorRef w, const Conv2dGeometry& geometry,
                     const Conv2dEpilogue& epilogue, TensorRef y, Workspace& workspace) {
  const bool more = epilogue.per_image_bias || epilogue.residual || epilogue.scale != 1;
  const bool sums = more || x.b;  // whether anything is added to what oneDNN computes first
  const Parts parts(epilogue.bias ? Pass::kForwardBias : Pass::kForward, x.a.shape, x.b ? x.b.shape[3] : 0,
                    w.shape, y.shape, geometry, y.dtype, sums ? DType::kFloat32 : y.dtype, 1);
  const bool widened = parts.widened, rounds = y.dtype == DType::kBFloat16 && (widened || sums);
  Widened xs[2] = {{x.a, widened}, {x.b, widened}}, weights(w, widened), result(y, rounds);
  Scratch scratch(workspace,
                  xs[0].bytes() + xs[1].bytes() + weights.bytes() + result.bytes() + parts.scratch_bytes());

  void *pw = weights.place(scratch, true), *py = result.place(scratch, false);
  void* px[2] = {xs[0].place(scratch, true), xs[1].place(scratch, true)};
  void* rest = scratch.take<char>(0);
  for (int i = 0; i < parts.count; ++i) parts.run(i, {px[i], pw, py, epilogue.bias.as<float>()}, rest);

  if (!rounds && !more) return;
  dispatch("conv2d", y.dtype, [&]<class T>() {
    const int64_t n = y.shape[0], k = y.shape[3], pixels = y.numel() / (n * k);
    finish(static_cast<const float*>(py), epilogue, n, pixels, k, y.as<T>());
  });
}

void library_dgrad(ConstTensorRef dy, ConstTensorRef w, const Conv2dGeometry& geometry, float scale,
                   const Concat& so_far, const ConcatOut& dx, Workspace& workspace) {
  const bool more = scale != 1 || so_far.a || so_far.b;  // to do before dx is rounded
  const Parts parts(Pass::kDgrad, dx.a.shape, dx.b ? dx.b.shape[3] : 0, w.shape, dy.shape, geometry, dy.dtype,
                    more ? DType::kFloat32 : dy.dtype, 1);
  const bool widened = parts.widened, rounds = dy.dtype == DType::kBFloat16 && (widened || more);
  const TensorRef targets[2] = {dx.a, dx.b};
  const ConstTensorRef sums[2] = {so_far.a, so_far.b};
  Widened gradient(dy, widened), weights(w, widened), results[2] = {{dx.a, rounds}, {dx.b, rounds}};
  Scratch scratch(workspace, gradient.bytes() + weights.bytes() + results[0].bytes() + results[1].bytes() +
                                 parts.scratch_bytes());

  void *pdy = gradient.place(scratch, true), *pw = weights.place(scratch, true);
  void* pdx[2] = {results[0].place(scratch, false), results[1].place(scratch, false)};
  void* rest = scratch.take<char>(0);
  for (int i = 0; i < parts.count; ++i) {
    parts.run(i, {pdx[i], pw, pdy}, rest);
    if (!rounds && scale == 1 && !sums[i]) continue;
    dispatch("conv2d_dgrad", dy.dtype, [&]<class T>() {
      add_scaled(static_cast<const float*>(pdx[i]), scale, sums[i].as<T>(), targets[i].numel(),
                 targets[i].as<T>());
    });
  }
}

void library_wgrad(const Concat& x, ConstTensorRef dy, const Conv2dGeometry& geometry, float scale,
                   TensorRef dw, TensorRef dbias, Workspace& workspace) {
  const Parts parts(Pass::kWgrad, x.a.shape, x.b ? x.b.shape[3] : 0, dw.shape, dy.shape, geometry, dy.dtype,
                    DType::kFloat32, scale);
  Widened xs[2] = {{x.a, parts.widened}, {x.b, parts.widened}}, gradient(dy, parts.widened);
  const int64_t outputs = dw.shape[0], pixels = dy.numel() / outputs;
  const int64_t partial = dbias ? partial_sums(1, pixels, outputs) : 0;
  Scratch scratch(workspace, xs[0].bytes() + xs[1].bytes() + gradient.bytes() +
                                 std::max(parts.scratch_bytes(), Scratch::bytes_of<float>(partial)));

  void* pdy = gradient.place(scratch, true);
  void* px[2] = {xs[0].place(scratch, true), xs[1].place(scratch, true)};
  void* rest = scratch.take<char>(0);
  for (int i = 0; i < parts.count; ++i) parts.run(i, {px[i], dw.data, pdy}, rest);

  if (!dbias) return;
  dispatch("conv2d_wgrad", dy.dtype, [&]<class T>() {
    float* const sums = dbias.as<float>();
    sum_pixels(dy.as<T>(), 1, pixels, outputs, static_cast<float*>(rest),
               [&](int64_t, int64_t k, double sum) { sums[k] = static_cast<float>(sums[k] + scale * sum); });
  });
}

}  // namespace imago::cpu
