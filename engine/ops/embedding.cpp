#include "engine/ops/embedding.h"

#include "engine/ops/elementwise.h"

namespace imago {

Tensor sinusoid(const Tensor& t, const Tensor& frequencies, int64_t width, bool cos_first, DType dtype) {
  check(frequencies.numel() == width / 2, "sinusoid: ", frequencies.numel(), " frequencies for width ",
        width);
  Tensor y = empty({t.dim(0), width}, dtype, t.device());
  backend_of(t).sinusoid(t, frequencies, cos_first, y);
  return y;
}

Tensor embedding(const Parameter& table, const Tensor& index, DType dtype) {
  Tensor y = empty({index.dim(0), table.shape[1]}, table.value.dtype(), index.device());
  backend_of(index).embedding(table.value, index, y);
  y = record("embedding", y, {table.value}, [index, dtable = table.value.grad()](const Tensor& dy) {
    if (dtable) backend_of(dy).embedding_backward(dy, index, dtable);
    return Gradients{{}};
  });
  return cast(y, dtype);
}

}  // namespace imago
