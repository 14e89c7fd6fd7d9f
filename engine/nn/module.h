// Parameters, and modules that own them by name.
#pragma once

#include <functional>
#include <string>
#include <utility>
#include <vector>

#include "engine/tensor/tensor.h"

namespace imago {

/// How a parameter starts: constants, or Philox numbers that depend on (seed, name) alone.
struct Init {
  enum class Kind { kConstant, kUniform, kNormal } kind = Kind::kConstant;
  double value =
      0;  // the constant; the bound of uniform(-value, value); the standard deviation of normal(0, value)

  static Init constant(double value) { return {Kind::kConstant, value}; }
  static Init uniform(double bound) { return {Kind::kUniform, bound}; }
  static Init normal(double deviation) { return {Kind::kNormal, deviation}; }
};

/// A named tensor that training changes. A view into the model's flat buffers (see
/// engine/nn/flat_parameters.h).
struct Parameter {
  Parameter() = default;
  Parameter(const Shape& shape, Init init, bool trainable = true)
      : shape(shape), init(init), trainable(trainable) {}

  Shape shape;
  Init init;
  bool trainable = true;
  Tensor value;    // the master copy, float32 (float64 in the reference); value.grad() is its gradient
  Tensor compute;  // the copy that convolutions and linear layers read: bfloat16 in bf16 training, else the
                   // same as value

  bool defined() const { return value.defined(); }
};

/// A parameter outside any model, for tests and small experiments: requires a gradient, which starts at zero.
Parameter make_parameter(const Tensor& value);

/// Something with named parameters and a forward function of its own signature. Modules are members of
/// modules, and are registered in the constructor by the names that diffusers gives them: add("conv1",
/// conv1_).
class Module {
 public:
  Module() = default;
  Module(const Module&) = delete;
  Module& operator=(const Module&) = delete;
  virtual ~Module() = default;

  /// Visits all parameters below this module, depth first in the order of registration: ("conv1.weight",
  /// parameter).
  void for_each_parameter(const std::function<void(const std::string& name, Parameter&)>& visit);
  /// Visits all modules below this one, parents first: ("conv1", module).
  void for_each_module(const std::function<void(const std::string& name, Module&)>& visit);

  /// Where this module stands in the model, e.g. "down_blocks.0.resnets.1.conv1"; for messages. Set by
  /// name_paths().
  const std::string& path() const { return path_; }
  void name_paths(const std::string& prefix = "");

 protected:
  void add(std::string name, Parameter& parameter) { parameters_.emplace_back(std::move(name), &parameter); }
  void add(std::string name, Module& module) { modules_.emplace_back(std::move(name), &module); }

 private:
  std::string path_;
  std::vector<std::pair<std::string, Parameter*>> parameters_;
  std::vector<std::pair<std::string, Module*>> modules_;
};

}  // namespace imago
