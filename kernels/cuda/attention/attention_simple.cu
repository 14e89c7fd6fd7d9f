// Attention without tensor cores, forward and backward: float32 (whose sums must be float32's), and heads of
// more than 256 channels. The same walk as attention.cu and attention_backward.cu, with plain loops: the ones
// to read first.
//
// A block of 128 threads owns eight rows and walks along tiles of 32 columns. For the scores, sixteen threads
// share a row, two columns each; for the sums, the threads run along the channels, so that global reads are
// contiguous. Results grow in shared memory [8][D], which leaves D open. Operands are read through L1, where
// a block's rows stay.
//
// Cost: 4 N heads T^2 D FLOP forward, 14 backward, at one L1 access per two: some 10 % of FFMA's peak. A path
// for exactness, not for speed.
#include "kernels/cuda/attention/attention_simple.h"

#include "kernels/cuda/device/vec.h"

namespace imago::IMAGO_CUDA_NAMESPACE {
namespace {

constexpr int kThreads = kSimpleAttentionThreads, kRows = kSimpleAttentionRows, kColumns = 32;
constexpr int kPerRow = kThreads / kRows;  // threads that share a row of scores

/// The operands of both directions; what one of them does not use is null.
template <class T>
struct Args {
  const T *q = nullptr, *k = nullptr, *v = nullptr, *dy = nullptr;
  T *y = nullptr, *dq = nullptr, *dk = nullptr, *dv = nullptr;
  float* lse = nullptr;
  const float *saved_lse = nullptr, *delta = nullptr;
  int tokens = 0, heads = 0, dim = 0;
  float scale = 1;

  /// Token t of this block's image and head.
  template <class U>
  __device__ __forceinline__ U* token(U* tensor, int t) const {
    return tensor + ((static_cast<int64_t>(blockIdx.z) * tokens + t) * heads + blockIdx.y) * dim;
  }
  __device__ __forceinline__ int64_t row(int t) const {
    return (static_cast<int64_t>(blockIdx.z) * heads + blockIdx.y) * tokens + t;
  }
  __device__ __forceinline__ float dot(const T* a, const T* b) const {
    float sum = 0.0f;
    for (int d = 0; d < dim; ++d) sum += to_float(a[d]) * to_float(b[d]);
    return sum;
  }
};

/// f(row, channel) for all of [8][D], neighbours along the channels on neighbouring threads.
template <class F>
__device__ __forceinline__ void for_each_result(int dim, F&& f) {
  for (int id = static_cast<int>(threadIdx.x); id < kRows * dim; id += kThreads) f(id / dim, id % dim);
}

template <class T>
__global__ void __launch_bounds__(kThreads) attention_simple_kernel(const Args<T> a) {
  IMAGO_DYNAMIC_SHARED(shared);
  IMAGO_SHARED(float, p, [kRows][kColumns]);
  IMAGO_SHARED(float, rescale, [kRows]);
  IMAGO_SHARED(float, row_sum, [kRows]);
  float* const y = reinterpret_cast<float*>(shared);  // [8][D]
  const int thread = static_cast<int>(threadIdx.x), row = thread / kPerRow, lane = thread % kPerRow;
  const int first = static_cast<int>(blockIdx.x) * kRows,
            query = min(first + row, a.tokens - 1);  // the last row, again
  float largest = -INFINITY, sum = 0.0f;
  for_each_result(a.dim, [&](int r, int d) { y[r * a.dim + d] = 0.0f; });
  for (int key = 0; key < a.tokens; key += kColumns) {
    float s[2], top = largest;
    for (int i = 0; i < 2; ++i) {
      const int column = key + lane + i * kPerRow;
      s[i] = column < a.tokens ? a.scale * a.dot(a.token(a.q, query), a.token(a.k, column)) : -INFINITY;
      top = fmaxf(top, s[i]);
    }
    for (int distance = kPerRow / 2; distance > 0; distance /= 2)
      top = fmaxf(top, __shfl_xor_sync(0xffffffffu, top, distance));
    float more = 0.0f;
    for (int i = 0; i < 2; ++i) {
      s[i] = expf(s[i] - top);
      p[row][lane + i * kPerRow] = s[i];
      more += s[i];
    }
    for (int distance = kPerRow / 2; distance > 0; distance /= 2)
      more += __shfl_xor_sync(0xffffffffu, more, distance);
    const float factor = expf(largest - top);
    if (lane == 0) rescale[row] = factor;
    sum = sum * factor + more;
    largest = top;
    __syncthreads();
    const int end = min(kColumns, a.tokens - key);
    for_each_result(a.dim, [&](int r, int d) {
      float value = y[r * a.dim + d] * rescale[r];
      for (int j = 0; j < end; ++j) value += p[r][j] * to_float(a.token(a.v, key + j)[d]);
      y[r * a.dim + d] = value;
    });
    __syncthreads();
  }
  if (lane == 0) {
    row_sum[row] = sum;
    if (first + row < a.tokens) a.lse[a.row(first + row)] = largest + logf(sum);
  }
  __syncthreads();
  for_each_result(a.dim, [&](int r, int d) {
    if (first + r < a.tokens) a.token(a.y, first + r)[d] = from_float<T>(y[r * a.dim + d] / row_sum[r]);
  });
}

/// P and dS of one query and key.
template <class T>
__device__ __forceinline__ float2 probabilities(const Args<T>& a, int query, int key) {
  const float p = expf(a.scale * a.dot(a.token(a.q, query), a.token(a.k, key)) - a.saved_lse[a.row(query)]);
  return make_float2(p, p * (a.dot(a.token(a.dy, query), a.token(a.v, key)) - a.delta[a.row(query)]));
}

/// dq = scale dS k: rows are queries, columns keys.
template <class T>
__global__ void __launch_bounds__(kThreads) attention_dq_simple_kernel(const Args<T> a) {
  IMAGO_DYNAMIC_SHARED(shared);
  IMAGO_SHARED(float, ds, [kRows][kColumns]);
  float* const dq = reinterpret_cast<float*>(shared);  // [8][D]
  const int thread = static_cast<int>(threadIdx.x), row = thread / kPerRow, lane = thread % kPerRow;
  const int first = static_cast<int>(blockIdx.x) * kRows;
  for_each_result(a.dim, [&](int r, int d) { dq[r * a.dim + d] = 0.0f; });
  for (int key = 0; key < a.tokens; key += kColumns) {
    for (int i = 0; i < 2; ++i) {
      const int column = lane + i * kPerRow;
      const bool valid = first + row < a.tokens && key + column < a.tokens;
      ds[row][column] = valid ? probabilities(a, first + row, key + column).y : 0.0f;
    }
    __syncthreads();
    const int end = min(kColumns, a.tokens - key);
    for_each_result(a.dim, [&](int r, int d) {
      float sum = dq[r * a.dim + d];
      for (int j = 0; j < end; ++j) sum += ds[r][j] * to_float(a.token(a.k, key + j)[d]);
      dq[r * a.dim + d] = sum;
    });
    __syncthreads();
  }
  for_each_result(a.dim, [&](int r, int d) {
    if (first + r < a.tokens) a.token(a.dq, first + r)[d] = from_float<T>(a.scale * dq[r * a.dim + d]);
  });
}

/// dv = P^T dy, dk = scale dS^T q: rows are keys, columns queries.
template <class T>
__global__ void __launch_bounds__(kThreads) attention_dkv_simple_kernel(const Args<T> a) {
  IMAGO_DYNAMIC_SHARED(shared);
  IMAGO_SHARED(float, p, [kRows][kColumns]);
  IMAGO_SHARED(float, ds, [kRows][kColumns]);
  float* const dv = reinterpret_cast<float*>(shared);  // [8][D]
  float* const dk = dv + kRows * a.dim;                // [8][D]
  const int thread = static_cast<int>(threadIdx.x), row = thread / kPerRow, lane = thread % kPerRow;
  const int first = static_cast<int>(blockIdx.x) * kRows;
  for_each_result(a.dim, [&](int r, int d) { dv[r * a.dim + d] = dk[r * a.dim + d] = 0.0f; });
  for (int query = 0; query < a.tokens; query += kColumns) {
    for (int i = 0; i < 2; ++i) {
      const int column = lane + i * kPerRow;
      const bool valid = first + row < a.tokens && query + column < a.tokens;
      const float2 both = valid ? probabilities(a, query + column, first + row) : make_float2(0.0f, 0.0f);
      p[row][column] = both.x;
      ds[row][column] = both.y;
    }
    __syncthreads();
    const int end = min(kColumns, a.tokens - query);
    for_each_result(a.dim, [&](int r, int d) {
      float sum_v = dv[r * a.dim + d], sum_k = dk[r * a.dim + d];
      for (int j = 0; j < end; ++j) {
        sum_v += p[r][j] * to_float(a.token(a.dy, query + j)[d]);
        sum_k += ds[r][j] * to_float(a.token(a.q, query + j)[d]);
      }
      dv[r * a.dim + d] = sum_v;
      dk[r * a.dim + d] = sum_k;
    });
    __syncthreads();
  }
  for_each_result(a.dim, [&](int r, int d) {
    if (first + r >= a.tokens) return;
    a.token(a.dv, first + r)[d] = from_float<T>(dv[r * a.dim + d]);
    a.token(a.dk, first + r)[d] = from_float<T>(a.scale * dk[r * a.dim + d]);
  });
}

template <class T>
Args<T> arguments(const AttentionShape& s, ConstTensorRef q, ConstTensorRef k, ConstTensorRef v,
                  float scale) {
  Args<T> args;
  args.q = q.as<T>();
  args.k = k.as<T>();
  args.v = v.as<T>();
  args.tokens = s.tokens;
  args.heads = s.heads;
  args.dim = s.dim;
  args.scale = scale;
  return args;
}

/// Eight rows a block, `results` tensors of [8][D] in shared memory.
LaunchConfig config(const Gpu& gpu, const AttentionShape& s, int results) {
  const size_t bytes = static_cast<size_t>(results) * kRows * s.dim * sizeof(float);
  check(bytes + 4096 <= gpu.shared_bytes, "attention: a head of ", s.dim, " channels needs ", bytes,
        " bytes of shared memory, the GPU has ", gpu.shared_bytes);
  return {.grid = s.grid(kRows), .block = kThreads, .shared_bytes = bytes, .stream = gpu.stream};
}

}  // namespace

void attention_simple(const Gpu& gpu, ConstTensorRef q, ConstTensorRef k, ConstTensorRef v, int heads,
                      float scale, TensorRef y, TensorRef lse) {
  const AttentionShape s(q.shape, heads);
  dispatch_float(q.dtype, "attention", [&](auto t) {
    using T = decltype(t);
    Args<T> args = arguments<T>(s, q, k, v, scale);
    args.y = y.as<T>();
    args.lse = lse.as<float>();
    launch(attention_simple_kernel<T>, config(gpu, s, 1), args);
  });
}

void attention_backward_simple(const Gpu& gpu, ConstTensorRef dy, ConstTensorRef q, ConstTensorRef k,
                               ConstTensorRef v, ConstTensorRef lse, const float* delta, int heads,
                               float scale, TensorRef dq, TensorRef dk, TensorRef dv) {
  const AttentionShape s(q.shape, heads);
  dispatch_float(q.dtype, "attention_backward", [&](auto t) {
    using T = decltype(t);
    Args<T> args = arguments<T>(s, q, k, v, scale);
    args.dy = dy.as<T>();
    args.saved_lse = lse.as<float>();
    args.delta = delta;
    args.dq = dq.as<T>();
    args.dk = dk.as<T>();
    args.dv = dv.as<T>();
    launch(attention_dq_simple_kernel<T>, config(gpu, s, 1), args);
    launch(attention_dkv_simple_kernel<T>, config(gpu, s, 2), args);
  });
}

}  // namespace imago::IMAGO_CUDA_NAMESPACE
