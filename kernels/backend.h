// The table of contents: every operation a device must provide. Read this first.
//
// Conventions, for all of it:
//   * Layout. Images are NHWC [N,H,W,C], convolution weights [K,R,S,C], linear weights [K,C], tokens [N,T,C];
//     all contiguous.
//   * Letters. N images, H x W pixels, C channels in, K channels out, R x S filter, T tokens, D head dim,
//     G groups, E width.
//   * Types. "x" types are float32, bfloat16 or (reference only) float64, the same for all activations of one
//     call. Vectors (bias, gamma, beta, statistics, losses, coefficients) are float32, or float64 where the
//     activations are float64. Weights have the type of the activations. Sums are always carried in float32
//     or better.
//   * Outputs are overwritten, except the gradients of parameters (dw, dbias, dgamma, dbeta, dtable), which
//   are
//     float32 (float64 with float64 activations) and ADDED to, so that gradient accumulation costs nothing.
//   * Gradients of an activation that several operations read are summed by those operations: `so_far` is the
//     sum that dx continues. Like dx, but other memory; each of its sources may be absent, and counts as
//     zero.
//   * Aliasing: an output may be the same memory as an input only where a comment says "in place".
//   * Nothing allocates: an operation that needs scratch memory asks its Workspace for it, once.
//   * Same inputs, same device, same build: same bits. No atomics on floats; reductions have a fixed order.
//   * Shapes are validated by the engine's ops before a backend sees them; a backend checks only what it
//   cannot
//     do.
#pragma once

#include <functional>
#include <memory>

#include "kernels/tensor_ref.h"

namespace imago {

/// Scratch memory for the operation in flight. Valid until that operation has run; contents undefined.
class Workspace {
 public:
  virtual ~Workspace() = default;
  virtual void* get(size_t bytes) = 0;  // aligned to 256 bytes
};

/// One tensor [N,H,W,C], or two that are read (written) as if concatenated along C. The U-Net's skip
/// connections are never copied together: the first operation behind the concatenation takes both sources.
template <class Ref>
struct BasicConcat {
  Ref a;       // [N,H,W,Ca]
  Ref b = {};  // [N,H,W,Cb], or absent
  int64_t channels() const { return a.shape[-1] + (b ? b.shape[-1] : 0); }
};
using Concat = BasicConcat<ConstTensorRef>;
using ConcatOut = BasicConcat<TensorRef>;

/// Where a filter stands on its image. Output height: (H + top + bottom - R) / stride + 1, width alike.
struct Conv2dGeometry {
  int stride = 1;
  int top = 0, left = 0, bottom = 0, right = 0;  // rows and columns of zeros around the image

  static Conv2dGeometry same(int filter) { return {1, filter / 2, filter / 2, filter / 2, filter / 2}; }
  int64_t out_height(int64_t h, int64_t r) const { return (h + top + bottom - r) / stride + 1; }
  int64_t out_width(int64_t w, int64_t s) const { return (w + left + right - s) / stride + 1; }
};

/// What a pooling takes together: R x S pixels, laid over the image as a filter is. Pixels outside of the
/// image count for nothing; every window holds at least one that is inside.
struct PoolWindow {
  int rows = 1, columns = 1;  // R, S
  Conv2dGeometry geometry;
};

/// What a convolution adds before it writes: y = (conv + bias + per_image_bias + residual) * scale. Every
/// part may be absent.
struct Conv2dEpilogue {
  ConstTensorRef bias;            // [K] float32
  ConstTensorRef per_image_bias;  // [N,K], the type of y: the time embedding
  ConstTensorRef residual;        // [N,Ho,Wo,K], the type of y
  float scale = 1;
};

enum class Activation { kNone, kSilu };

struct GroupNormConfig {
  int groups = 32;
  float eps = 1e-5f;
  Activation activation = Activation::kNone;
};

/// Random numbers are functions, not a sequence: value = f(seed, stream, id, element). See kernels/philox.h.
/// `ids` gives every image of a batch its own numbers, so they do not depend on how images are batched.
struct RandomKey {
  uint64_t seed = 0;
  uint32_t stream = 0;  // which use of randomness: noise, timesteps, dropout of layer 7, ...
  ConstTensorRef ids;   // [N] int64
};

/// What one AdamW update needs besides the tensors. Lies in device memory ([1] of this struct), so that a
/// captured graph reads the current step's numbers.
struct AdamWStep {
  float learning_rate, beta1, beta2, epsilon, weight_decay;
  float correction1, correction2;  // 1 - beta1^step, 1 - beta2^step
  float max_grad_norm;             // <= 0: no clipping
  float ema_decay;                 // ema = decay * ema + (1 - decay) * p
};

/// What hybrid_loss and its gradient read.
struct HybridLossInputs {
  ConstTensorRef prediction;  // [N,...,2C] x-type: m, and o behind its C channels
  ConstTensorRef target;      // [N,...,C] float32 (float64)
  ConstTensorRef x0;          // [N,...,C] as q_sample's
  ConstTensorRef weight;      // [N] float32 (float64)
  ConstTensorRef bound;       // [N,4] float32: error_scale, min_log, max_log, is_first
  float lambda = 0;
};

/// Where the noise of a sampler update gets its standard deviation.
enum class StepNoise {
  kFixed,         // sigma
  kLearned,       // sqrt(v), v the network's output behind its first C channels
  kLearnedRange,  // exp((f max_log + (1-f) min_log) / 2), f = (v+1)/2 (Nichol & Dhariwal 2021, equation 15)
};

/// One sampler update, the same for every sampler and prediction type. Of the images x, the network's output
/// m and up to three earlier entries h_0 (the newest), h_1, h_2:
///   m = m_u + guidance (m_c - m_u), where there are two outputs an image (Ho & Salimans 2022)
///   x0 = clamp(x0_x x + x0_m m, -clip, clip), or clamp(.., -limit, limit) / limit with a limit per image
///   y = y_x x + y_m m + y_x0 x0 + sum_j y_h[j] h_j + sigma z,  z ~ N(0,1)
///   y = mask (known_signal known + known_noise z) + (1 - mask) y, where an image is known in part
///   entry = entry_x x + entry_m m + entry_x0 x0
///   input = input_scale y, what the network sees next
struct SamplerStep {
  static constexpr int kHistory = 3;
  float x0_x, x0_m, clip;  // clip <= 0: none
  float y_x, y_m, y_x0, sigma;
  float y_h[kHistory] = {};
  float entry_x = 0, entry_m = 0, entry_x0 = 0;
  float guidance = 1;
  float input_scale = 1;
  StepNoise noise = StepNoise::kFixed;
  float min_log = 0, max_log = 0;  // logarithms of variances
  float known_signal = 0, known_noise = 0;
};

/// The tensors of one sampler update; all but x, m and y may be absent. An absent h_j counts as zero. In
/// place: y may be x, entry may be one of the history.
struct SamplerTensors {
  ConstTensorRef x;  // [N,...,C] float32 (float64)
  ConstTensorRef m;  // [N,...,C], x-type; [2N,...,C]: m_c of all, then m_u of all
                     // [..,2C]: v lies behind the C channels of m (m_c)
  ConstTensorRef history[SamplerStep::kHistory]{};  // like x
  ConstTensorRef limit{};                           // [N] like x
  ConstTensorRef known{}, mask{};                   // like x; both or none
  TensorRef y, entry{};                             // like x
  TensorRef input{};                                // [N,...,C], the type of m; [2N,...,C]: the same twice
};

/// Bytes on their way to the host, where nobody has to wait for them.
class Download {
 public:
  virtual ~Download() = default;   // may be let go of at any time
  virtual bool arrived() = 0;      // does not wait
  virtual const void* wait() = 0;  // the bytes; valid as long as this object
};

/// Operations that were recorded once, to be run again as a whole: on the same addresses, with
/// the same numbers.
class Graph {
 public:
  virtual ~Graph() = default;
  virtual void launch() = 0;  // ordered with the operations
};

/// How much of a device's memory is free; 0 of 0 where that says nothing, as on the host.
struct DeviceMemory {
  size_t free = 0, total = 0;  // bytes
};

class Backend {
 public:
  virtual ~Backend() = default;
  virtual const char* name() const = 0;
  virtual bool supports(DType activations) const = 0;

  // ---- Memory ----
  // Raw and slow; the engine's allocator stands in front. Returns nullptr where there is not enough.
  virtual void* allocate(size_t bytes) = 0;
  virtual void deallocate(void* p, size_t bytes) = 0;
  virtual void upload(void* device, const void* host, size_t bytes) = 0;    // ordered with the operations
  virtual void download(void* host, const void* device, size_t bytes) = 0;  // returns when they are there
  /// download() for those who look later: returns at once, the copy is ordered with the operations.
  virtual std::unique_ptr<Download> download_later(const void* device, size_t bytes);
  virtual void synchronize() = 0;
  virtual DeviceMemory memory() const { return {}; }

  // ---- Graphs ----
  virtual bool has_graphs() const { return false; }
  /// Calls `enqueue` once and records its operations instead of running them. They may not be uploads or
  /// downloads, and all their memory must stay in place as long as the graph.
  virtual std::unique_ptr<Graph> record_graph(const std::function<void()>& enqueue);

  // ---- Elementwise ----
  virtual void fill(TensorRef y, double value) = 0;      // y = value, any type
  virtual void copy(ConstTensorRef x, TensorRef y) = 0;  // y = x, float types converted; u8 -> float as is
  /// y = alpha a + beta b. In place (y = a or y = b).
  virtual void add(ConstTensorRef a, float alpha, ConstTensorRef b, float beta, TensorRef y) = 0;
  virtual void silu(ConstTensorRef x, TensorRef y) = 0;  // y = x s(x), s(x) = 1 / (1 + exp(-x))
  /// dx = dy s (1 + x (1 - s))
  virtual void silu_backward(ConstTensorRef dy, ConstTensorRef x, TensorRef dx) = 0;
  virtual void relu(ConstTensorRef x, TensorRef y) = 0;  // y = max(x, 0), NaN where x is. In place.
  /// dx = x > 0 ? dy : 0
  virtual void relu_backward(ConstTensorRef dy, ConstTensorRef x, TensorRef dx) = 0;
  /// y = keep ? x / (1 - p) : 0 with keep = uniform(key, element) >= p. x [N,...].
  /// Its own backward: apply it to dy. In place.
  virtual void dropout(ConstTensorRef x, float p, const RandomKey& key, TensorRef y) = 0;

  // ---- Convolution (Dumoulin & Visin 2016); a linear layer is the 1x1 case with H = 1, W = rows ----
  /// y[n,i,j,k] = (sum_{r,s,c} x[n, i*stride + r - top, j*stride + s - left, c] w[k,r,s,c] + epilogue), zeros
  /// outside. x [N,H,W,C] in one or two sources, w [K,R,S,C], y [N,Ho,Wo,K].
  virtual void conv2d(const Concat& x, ConstTensorRef w, const Conv2dGeometry& geometry,
                      const Conv2dEpilogue& epilogue, TensorRef y, Workspace& workspace) = 0;
  /// The gradient with respect to the data: dx[n,h,w,c] = so_far[n,h,w,c] + scale * sum of dy[n,i,j,k]
  /// w[k,r,s,c] over the (i,j,k,r,s) that read x[n,h,w,c].
  virtual void conv2d_dgrad(ConstTensorRef dy, ConstTensorRef w, const Conv2dGeometry& geometry, float scale,
                            const Concat& so_far, const ConcatOut& dx, Workspace& workspace) = 0;
  /// The gradients with respect to weights and bias:
  ///   dw[k,r,s,c] += scale * sum_{n,i,j} dy[n,i,j,k] x[n, i*stride + r - top, j*stride + s - left, c]
  ///   dbias[k] += scale * sum_{n,i,j} dy[n,i,j,k]
  /// dbias is one more column of dw, where x is 1 everywhere; it may be absent.
  virtual void conv2d_wgrad(const Concat& x, ConstTensorRef dy, const Conv2dGeometry& geometry, float scale,
                            TensorRef dw, TensorRef dbias, Workspace& workspace) = 0;
  /// The gradient with respect to the per-image bias: dper_image[n,k] = scale * sum_p dy[n,p,k].
  /// dy [N,P,K] or [N,H,W,K]; dper_image [N,K], the type of dy.
  virtual void per_image_bias_grad(ConstTensorRef dy, float scale, TensorRef dper_image,
                                   Workspace& workspace) = 0;

  // ---- Normalisation (Wu & He 2018) ----
  /// Per image and group of C/G channels: xhat = (x - mean) / sqrt(var + eps) (biased variance),
  /// h = xhat * gamma + beta; with scale_shift [N,2C]: h = h * (1 + scale) + shift; y = activation(h).
  /// x [N,...,C] in one or two sources, gamma and beta [C], y [N,...,C] in one tensor,
  /// statistics [N,G,2] = (mean, 1/sqrt(var+eps)).
  virtual void group_norm(const Concat& x, ConstTensorRef gamma, ConstTensorRef beta,
                          ConstTensorRef scale_shift, const GroupNormConfig& config, TensorRef y,
                          TensorRef statistics, Workspace& workspace) = 0;
  /// dh = dy * activation'(h); with scale_shift dscale[n,c] = sum dh * (xhat gamma + beta), dshift = sum dh,
  /// dh *= 1 + scale; dgamma += sum dh * xhat, dbeta += sum dh; dx = so_far + rstd * (dh gamma -
  /// mean_g(dh gamma) - xhat * mean_g(dh gamma xhat)). dscale_shift [N,2C] may be absent (with scale_shift).
  virtual void group_norm_backward(ConstTensorRef dy, const Concat& x, ConstTensorRef gamma,
                                   ConstTensorRef beta, ConstTensorRef scale_shift, ConstTensorRef statistics,
                                   const GroupNormConfig& config, const Concat& so_far, const ConcatOut& dx,
                                   TensorRef dgamma, TensorRef dbeta, TensorRef dscale_shift,
                                   Workspace& workspace) = 0;

  // ---- Attention (Vaswani 2017; tiled as in Dao 2022: the T x T matrix is never written out) ----
  /// Per image and head: P = softmax(scale q k^T), y = P v, lse = log sum exp of the scaled scores.
  /// q, k, v, y [N,T,heads*D]; lse [N,heads,T] float32.
  virtual void attention(ConstTensorRef q, ConstTensorRef k, ConstTensorRef v, int heads, float scale,
                         TensorRef y, TensorRef lse, Workspace& workspace) = 0;
  /// With P from lse: dv = P^T dy; dP = dy v^T; dS = P * (dP - rowsum(dy * y)); dq = scale dS k;
  /// dk = scale dS^T q.
  virtual void attention_backward(ConstTensorRef dy, ConstTensorRef q, ConstTensorRef k, ConstTensorRef v,
                                  ConstTensorRef y, ConstTensorRef lse, int heads, float scale, TensorRef dq,
                                  TensorRef dk, TensorRef dv, Workspace& workspace) = 0;

  // ---- Resampling ----
  /// y[n,h,w,c] = scale * x[n,h/2,w/2,c]. x [N,H,W,C], y [N,2H,2W,C]. Nearest upsampling; with 1/4 the
  /// gradient of pooling.
  virtual void upsample2x(ConstTensorRef x, float scale, TensorRef y) = 0;
  /// y[n,h,w,c] = scale * sum of x's 2x2 block. x [N,2H,2W,C], y [N,H,W,C]. With 1/4 average pooling; with 1
  /// the gradient above.
  virtual void sum_pool2x(ConstTensorRef x, float scale, TensorRef y) = 0;

  // ---- Pooling ----
  /// y[n,i,j,c] = mean of x[n, i*stride + r - top, j*stride + s - left, c] over the r < R, s < S that lie in
  /// the image. x [N,H,W,C], y [N,Ho,Wo,C]. A window as large as the image: global average pooling.
  virtual void avg_pool(ConstTensorRef x, const PoolWindow& window, TensorRef y) = 0;
  /// dx[n,h,w,c] = sum of dy[n,i,j,c] / (pixels of window (i,j)) over the windows that hold (h,w)
  virtual void avg_pool_backward(ConstTensorRef dy, const PoolWindow& window, TensorRef dx) = 0;
  /// y[n,i,j,c] = the largest of them; NaN where one of them is. Has no gradient here: it serves networks
  /// that others have trained.
  virtual void max_pool(ConstTensorRef x, const PoolWindow& window, TensorRef y) = 0;

  // ---- Embeddings ----
  /// y[n] = [sin(t f), cos(t f)], halves swapped if cos_first; a last odd column is zero. t [N] and f [E/2]
  /// float32, y [N,E].
  virtual void sinusoid(ConstTensorRef t, ConstTensorRef frequencies, bool cos_first, TensorRef y) = 0;
  /// y[n] = table[index[n]]; index [N] int32
  virtual void embedding(ConstTensorRef table, ConstTensorRef index, TensorRef y) = 0;
  /// dtable[index[n]] += dy[n]
  virtual void embedding_backward(ConstTensorRef dy, ConstTensorRef index, TensorRef dtable) = 0;

  // ---- Losses ----
  /// Softmax cross entropy: loss[n] = log sum_k exp(x[n,k]) - x[n, label[n]]. x [N,K]; label [N] int32, 0 ..
  /// K-1; loss [N] float32.
  virtual void cross_entropy(ConstTensorRef x, ConstTensorRef label, TensorRef loss) = 0;
  /// dx[n,k] = dloss[n] (softmax(x[n])[k] - [k = label[n]])
  virtual void cross_entropy_backward(ConstTensorRef dloss, ConstTensorRef x, ConstTensorRef label,
                                      TensorRef dx) = 0;

  // ---- Diffusion ----
  virtual void normal(const RandomKey& key, TensorRef y) = 0;  // y [N,...] ~ N(0,1), by Philox and Box-Muller
  /// x0' = x0 / 127.5 - 1 if x0 is uint8, else x0; e ~ N(0,1) from key; c = coefficients[n] in float32:
  /// xt = c0 x0' + c1 e,  target = c2 x0' + c3 e.
  /// x0 [N,...]; coefficients [N,4] float32; xt x-type; target float32/float64.
  virtual void q_sample(ConstTensorRef x0, ConstTensorRef coefficients, const RandomKey& key, TensorRef xt,
                        TensorRef target) = 0;
  /// loss[n] = weight[n] / M * sum_i (prediction - target)^2, M elements an image. weight, loss [N] float32.
  virtual void mse_loss(ConstTensorRef prediction, ConstTensorRef target, ConstTensorRef weight,
                        TensorRef loss) = 0;
  /// dprediction = dloss[n] * weight[n] * 2 / M * (prediction - target)
  virtual void mse_loss_backward(ConstTensorRef dloss, ConstTensorRef prediction, ConstTensorRef target,
                                 ConstTensorRef weight, TensorRef dprediction) = 0;
  /// A squared error and lambda times the variational bound of a model that predicts m and a variance, M
  /// elements an image (Nichol & Dhariwal 2021, equations 15 and 16):
  ///   loss[n] = 1/M sum_i (weight[n] (m - target)^2 + lambda b)
  /// The model's distribution has the variance exp(l) with l = f max_log + (1-f) min_log, f = (o+1)/2, and
  /// its mean is off by e = error_scale (m - target). In nats:
  ///   b = KL(N(0, exp(min_log)) || N(e, exp(l))) = (l - min_log + exp(min_log - l) + e^2 exp(-l) - 1) / 2
  /// or, where is_first is 1, b = -log max(P, 1e-12), P = P(x0 - 1/255 < y < x0 + 1/255) of y ~ N(x0 + e,
  /// exp(l)), with no end below where x0 < -0.999 and none above where x0 > 0.999 (Ho 2020, equation 13).
  virtual void hybrid_loss(const HybridLossInputs& inputs, TensorRef loss) = 0;
  /// The gradient with b's through m left out: dm = dloss[n] weight[n] 2/M (m - target),
  /// do = dloss[n] lambda/M db/dl (max_log - min_log) / 2; db/dl is 0 where P < 1e-12. Like prediction.
  virtual void hybrid_loss_backward(ConstTensorRef dloss, const HybridLossInputs& inputs,
                                    TensorRef dprediction) = 0;
  /// See SamplerStep and SamplerTensors; z from key.
  virtual void sampler_step(const SamplerTensors& tensors, const SamplerStep& step, const RandomKey& key) = 0;

  // ---- Optimizer: over flat buffers of P float32 elements, one pass ----
  /// y [1] = sqrt(sum x^2), summed in float64
  virtual void norm(ConstTensorRef x, TensorRef y, Workspace& workspace) = 0;
  /// Decoupled weight decay (Loshchilov & Hutter 2019), clipping by global norm, EMA and the bfloat16
  /// weights, in one pass:
  ///   g *= min(1, max_grad_norm / (grad_norm + 1e-6));  p *= 1 - lr * weight_decay
  ///   m = b1 m + (1-b1) g;  v = b2 v + (1-b2) g^2
  ///   p -= lr (m / correction1) / (sqrt(v / correction2) + epsilon)
  /// ema and p_bf16 follow (each may be absent). step: [1] of AdamWStep as bytes (uint8 [sizeof]);
  /// grad_norm [1] float32. float32 only.
  virtual void adamw(ConstTensorRef g, ConstTensorRef grad_norm, ConstTensorRef step, TensorRef p,
                     TensorRef m, TensorRef v, TensorRef ema, TensorRef p_bf16) = 0;
};

/// Plain loops with double accumulation; float32, bfloat16 and float64. The oracle of the tests.
Backend& reference_backend();
/// oneDNN for convolution and matrix products, our own loops for the rest; float32 and bfloat16.
Backend& cpu_backend();
/// Our own CUDA kernels on the first NVIDIA GPU (compute capability 8.0 or newer), float32 and bfloat16; null
/// where there is no GPU, no driver, or where this build has no CUDA compiler.
Backend* cuda_backend();
/// The same kernels compiled for the host and emulated, thread by thread: to test and to debug them. Defined
/// in the library imago_cuda_on_cpu.
Backend& cuda_on_cpu_backend();
/// Computes nothing and counts: floating-point operations and bytes, for `--plan`. See
/// kernels/plan/plan_backend.h.
Backend& plan_backend();

}  // namespace imago
