// The optimizer's two passes over the flat buffers: the gradient's length, and AdamW with EMA.
#include <algorithm>
#include <cmath>
#include <cstring>

#include "kernels/reference/reference_backend.h"
#include "kernels/reference/types.h"

namespace imago {

using namespace reference;

void ReferenceBackend::norm(ConstTensorRef x, TensorRef y, Workspace&) {
  double sum = 0;
  dispatch("norm", x.dtype, [&]<class T>() {
    for (int64_t i = 0; i < x.numel(); ++i) sum += static_cast<double>(x.as<T>()[i]) * x.as<T>()[i];
  });
  dispatch("norm", y.dtype, [&]<class T>() { y.as<T>()[0] = static_cast<T>(std::sqrt(sum)); });
}

// Loshchilov & Hutter 2019, algorithm 2, with the gradient clipped by its global norm (Pascanu 2013) before
// and the exponential moving average of the parameters after.
void ReferenceBackend::adamw(ConstTensorRef g, ConstTensorRef grad_norm, ConstTensorRef step, TensorRef p,
                             TensorRef m, TensorRef v, TensorRef ema, TensorRef p_bf16) {
  check(p.dtype == DType::kFloat32, "adamw: parameters of type ", p.dtype, ", expected float32");
  AdamWStep s;
  std::memcpy(&s, step.data, sizeof s);
  const double b1 = s.beta1, b2 = s.beta2, rate = s.learning_rate, decay = s.ema_decay;
  const double clip =
      s.max_grad_norm > 0 ? std::min(1.0, s.max_grad_norm / (number_at(grad_norm, 0) + 1e-6)) : 1.0;

  for (int64_t i = 0; i < p.numel(); ++i) {
    const double gradient = clip * g.as<float>()[i];
    const double mean = b1 * m.as<float>()[i] + (1 - b1) * gradient;
    const double square = b2 * v.as<float>()[i] + (1 - b2) * gradient * gradient;
    const double decayed = p.as<float>()[i] * (1 - rate * s.weight_decay);
    const double parameter =
        decayed - rate * (mean / s.correction1) / (std::sqrt(square / s.correction2) + s.epsilon);

    m.as<float>()[i] = static_cast<float>(mean);
    v.as<float>()[i] = static_cast<float>(square);
    p.as<float>()[i] = static_cast<float>(parameter);
    if (ema) ema.as<float>()[i] = static_cast<float>(decay * ema.as<float>()[i] + (1 - decay) * parameter);
    if (p_bf16) p_bf16.as<bf16>()[i] = bf16(p.as<float>()[i]);
  }
}

}  // namespace imago
