// Modules: what owns parameters by name.
#pragma once

#include <functional>
#include <string>
#include <utility>
#include <vector>

#include "engine/autograd/parameter.h"

namespace imago {

/// Something with named parameters and a forward function of its own signature. Modules are members of
/// modules, and are registered in the constructor by the names that their parameters have in files:
/// add("conv1", conv1_).
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
