#include "engine/nn/module.h"

namespace imago {

void Module::for_each_parameter(const std::function<void(const std::string&, Parameter&)>& visit) {
  for (auto& [name, parameter] : parameters_) visit(name, *parameter);
  for (auto& [name, module] : modules_) {
    module->for_each_parameter(
        [&visit, &prefix = name](const std::string& rest, Parameter& p) { visit(prefix + "." + rest, p); });
  }
}

void Module::for_each_module(const std::function<void(const std::string&, Module&)>& visit) {
  for (auto& [name, module] : modules_) {
    visit(name, *module);
    module->for_each_module(
        [&visit, &prefix = name](const std::string& rest, Module& m) { visit(prefix + "." + rest, m); });
  }
}

void Module::name_paths(const std::string& prefix) {
  path_ = prefix;
  for_each_module([&prefix](const std::string& name, Module& m) {
    m.path_ = prefix.empty() ? name : prefix + "." + name;
  });
}

}  // namespace imago
