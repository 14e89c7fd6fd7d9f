// Attention (Vaswani 2017). Per image and head, with queries, keys and values of D numbers a token:
//   S = scale q k^T,   P = softmax of every row of S,   y = P v,   lse_i = log sum_j exp S_ij
// One row of S at a time: the T x T matrix is never held. The backward pass makes P again from lse:
//   P_ij = exp(S_ij - lse_i)
#include <algorithm>
#include <cmath>
#include <vector>

#include "kernels/reference/reference_backend.h"
#include "kernels/reference/types.h"

namespace imago {

using namespace reference;

namespace {

/// Where the rows of one image and head lie in [N,T,heads*D]: row t starts at first + t * stride.
struct Head {
  int64_t first, stride, tokens, depth;

  Head(const Shape& shape, int64_t heads, int64_t n, int64_t head)
      : stride(shape[2]), tokens(shape[1]), depth(shape[2] / heads) {
    first = n * tokens * stride + head * depth;
  }
  int64_t row(int64_t t) const { return first + t * stride; }
};

template <class T>
double dot(const T* a, const T* b, int64_t count) {
  double sum = 0;
  for (int64_t d = 0; d < count; ++d) sum += static_cast<double>(a[d]) * static_cast<double>(b[d]);
  return sum;
}

template <class T>
void forward_head(const T* q, const T* k, const T* v, const Head& h, double scale, T* y, VectorOf<T>* lse) {
  std::vector<double> p(h.tokens), sum(h.depth);
  for (int64_t i = 0; i < h.tokens; ++i) {
    for (int64_t j = 0; j < h.tokens; ++j) p[j] = scale * dot(q + h.row(i), k + h.row(j), h.depth);

    const double largest = *std::max_element(p.begin(), p.end());  // exp stays finite
    double total = 0;
    for (double& s : p) total += s = std::exp(s - largest);
    lse[i] = static_cast<VectorOf<T>>(largest + std::log(total));

    sum.assign(sum.size(), 0.0);
    for (int64_t j = 0; j < h.tokens; ++j) {
      for (int64_t d = 0; d < h.depth; ++d) sum[d] += p[j] / total * v[h.row(j) + d];
    }
    for (int64_t d = 0; d < h.depth; ++d) y[h.row(i) + d] = static_cast<T>(sum[d]);
  }
}

/// What flows through one head in the backward pass.
template <class T>
struct BackwardTensors {
  const T *dy, *q, *k, *v, *y;
  const VectorOf<T>* lse;
  T *dq, *dk, *dv;
};

//   dv = P^T dy,   dP = dy v^T
//   dS_ij = P_ij (dP_ij - delta_i),   delta_i = sum_j P_ij dP_ij = dy_i . y_i
//   dq = scale dS k,   dk = scale dS^T q
template <class T>
void backward_head(const BackwardTensors<T>& t, const Head& h, double scale, const VectorOf<T>* lse) {
  std::vector<double> dq(h.depth), dk(h.tokens * h.depth), dv(h.tokens * h.depth);
  for (int64_t i = 0; i < h.tokens; ++i) {
    const T *dy_i = t.dy + h.row(i), *q_i = t.q + h.row(i);
    const double delta = dot(dy_i, t.y + h.row(i), h.depth);
    dq.assign(dq.size(), 0.0);
    for (int64_t j = 0; j < h.tokens; ++j) {
      const T* k_j = t.k + h.row(j);
      const double p = std::exp(scale * dot(q_i, k_j, h.depth) - lse[i]);
      const double ds = p * (dot(dy_i, t.v + h.row(j), h.depth) - delta);
      for (int64_t d = 0; d < h.depth; ++d) {
        dv[j * h.depth + d] += p * dy_i[d];
        dq[d] += scale * ds * k_j[d];
        dk[j * h.depth + d] += scale * ds * q_i[d];
      }
    }
    for (int64_t d = 0; d < h.depth; ++d) t.dq[h.row(i) + d] = static_cast<T>(dq[d]);
  }
  for (int64_t j = 0; j < h.tokens; ++j) {
    for (int64_t d = 0; d < h.depth; ++d) {
      t.dk[h.row(j) + d] = static_cast<T>(dk[j * h.depth + d]);
      t.dv[h.row(j) + d] = static_cast<T>(dv[j * h.depth + d]);
    }
  }
}

}  // namespace

void ReferenceBackend::attention(ConstTensorRef q, ConstTensorRef k, ConstTensorRef v, int heads, float scale,
                                 TensorRef y, TensorRef lse, Workspace&) {
  const int64_t images = q.shape[0], tokens = q.shape[1];
  dispatch("attention", q.dtype, [&]<class T>() {
#pragma omp parallel for collapse(2)
    for (int64_t n = 0; n < images; ++n) {
      for (int64_t head = 0; head < heads; ++head) {
        forward_head(q.as<T>(), k.as<T>(), v.as<T>(), Head(q.shape, heads, n, head), scale, y.as<T>(),
                     lse.as<VectorOf<T>>() + (n * heads + head) * tokens);
      }
    }
  });
}

void ReferenceBackend::attention_backward(ConstTensorRef dy, ConstTensorRef q, ConstTensorRef k,
                                          ConstTensorRef v, ConstTensorRef y, ConstTensorRef lse, int heads,
                                          float scale, TensorRef dq, TensorRef dk, TensorRef dv, Workspace&) {
  const int64_t images = q.shape[0], tokens = q.shape[1];
  dispatch("attention_backward", q.dtype, [&]<class T>() {
    const BackwardTensors<T> tensors{dy.as<T>(), q.as<T>(),  k.as<T>(),
                                     v.as<T>(),  y.as<T>(),  lse.as<VectorOf<T>>(),
                                     dq.as<T>(), dk.as<T>(), dv.as<T>()};
#pragma omp parallel for collapse(2)
    for (int64_t n = 0; n < images; ++n) {
      for (int64_t head = 0; head < heads; ++head) {
        backward_head(tensors, Head(q.shape, heads, n, head), scale,
                      tensors.lse + (n * heads + head) * tokens);
      }
    }
  });
}

}  // namespace imago
