#include "engine/autograd/parameter.h"

#include <cmath>

namespace imago {

Init Init::uniform_fan_in(int64_t fan_in) {
  return uniform(1 / std::sqrt(static_cast<double>(fan_in)));
}

Parameter make_parameter(const Tensor& value) {
  Parameter p(value.shape(), Init::constant(0));
  p.value = value.detach();
  p.value.set_requires_grad(true);
  const DType sums = value.dtype() == DType::kFloat64 ? DType::kFloat64 : DType::kFloat32;
  p.value.set_grad(zeros(value.shape(), sums, value.device()));
  p.compute = p.value.detach();
  return p;
}

}  // namespace imago
