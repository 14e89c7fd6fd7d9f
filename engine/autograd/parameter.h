// Parameters: the leaves of the tape that training changes.
#pragma once

#include "engine/tensor/tensor.h"

namespace imago {

/// How a parameter starts: constants, or Philox numbers that depend on (seed, name) alone.
struct Init {
  enum class Kind { kConstant, kUniform, kNormal } kind = Kind::kConstant;
  double value = 0;  // the constant; the bound of uniform(-value, value); the deviation of normal(0, value)

  static Init constant(double value) { return {Kind::kConstant, value}; }
  static Init uniform(double bound) { return {Kind::kUniform, bound}; }
  static Init normal(double deviation) { return {Kind::kNormal, deviation}; }
  /// PyTorch's start for Linear and Conv2d, kaiming_uniform(a = sqrt(5)): uniform in +-1/sqrt(fan_in) (He
  /// 2015).
  static Init uniform_fan_in(int64_t fan_in);
};

/// A named tensor that training changes. Its tensors are views into the model's flat buffers where it has
/// those (engine/nn/flat_parameters.h).
struct Parameter {
  Parameter() = default;
  Parameter(const Shape& shape, Init init, bool trainable = true)
      : shape(shape), init(init), trainable(trainable) {}

  Shape shape;
  Init init;
  bool trainable = true;
  /// The master copy, float32 (float64 in the reference); value.grad() is its gradient.
  Tensor value;
  /// What convolutions and linear layers read: a bfloat16 copy in bf16 training, else the same as value.
  Tensor compute;

  bool defined() const { return value.defined(); }
};

/// A parameter outside any model, for tests and small experiments: requires a gradient, which starts at zero.
Parameter make_parameter(const Tensor& value);

}  // namespace imago
