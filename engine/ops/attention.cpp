#include "engine/ops/attention.h"

#include "engine/tensor/allocator.h"

namespace imago {

Tensor attention(const Tensor& q_in, const Tensor& k_in, const Tensor& v_in, int heads, float scale) {
  check(q_in.shape().rank() == 3 && q_in.shape() == k_in.shape() && q_in.shape() == v_in.shape() &&
            q_in.dim(2) % heads == 0,
        "attention: q, k and v must be [N,T,heads*D] with ", heads, " heads, not ", q_in.shape());
  const DType sums = q_in.dtype() == DType::kFloat64 ? DType::kFloat64 : DType::kFloat32;
  Tensor y = empty_like(q_in);                                                 // [N,T,heads*D]
  Tensor lse = empty({q_in.dim(0), heads, q_in.dim(1)}, sums, q_in.device());  // [N,heads,T]
  {
    ScratchSpace scratch(q_in.device());
    backend_of(q_in).attention(q_in, k_in, v_in, heads, scale, y, lse, scratch);
  }
  return record(
      "attention", y, {q_in, k_in, v_in},
      [=, q = q_in.detach(), k = k_in.detach(), v = v_in.detach(), y = y.detach()](const Tensor& dy) {
        Tensor dq = empty_like(q), dk = empty_like(k), dv = empty_like(v);
        ScratchSpace scratch(dy.device());
        backend_of(dy).attention_backward(dy, q, k, v, y, lse, heads, scale, dq, dk, dv, scratch);
        return Gradients{dq, dk, dv};
      });
}

}  // namespace imago
