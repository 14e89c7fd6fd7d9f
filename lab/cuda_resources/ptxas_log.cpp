#include "lab/cuda_resources/ptxas_log.h"

#include <cxxabi.h>

#include <cstdlib>
#include <regex>
#include <sstream>

#include "kernels/error.h"

namespace imago::cuda_resources {

namespace {

std::string demangled(const std::string& mangled) {
  int status = 0;
  char* const text = abi::__cxa_demangle(mangled.c_str(), nullptr, nullptr, &status);
  const std::string result = status == 0 ? text : mangled;
  std::free(text);
  return result;
}

/// Where the parameter list begins: the first '(' outside of template arguments and
/// of "(anonymous namespace)".
size_t parameters_of(const std::string& name) {
  int depth = 0;
  for (size_t i = 0; i < name.size(); ++i) {
    if (name[i] == '<') ++depth;
    if (name[i] == '>') --depth;
    if (name[i] == '(' && depth == 0) return i;
  }
  return name.size();
}

}  // namespace

std::string readable_name(const std::string& mangled) {
  std::string name = demangled(mangled);
  static const std::pair<std::regex, const char*> kReplacements[] = {
      {std::regex(R"(\(anonymous namespace\)::|imago::cuda(_on_cpu)?::|imago::)"), ""},
      {std::regex("__nv_bfloat16"), "bf16"},
      {std::regex("unsigned char"), "u8"},
      {std::regex(R"(TileShape<(\d+), (\d+), \d+, \d+>)"), "$1x$2"},
      {std::regex(", "), ","},
      {std::regex(" >"), ">"}};
  for (const auto& [pattern, text] : kReplacements) name = std::regex_replace(name, pattern, text);
  name = name.substr(0, parameters_of(name));
  if (name.rfind("void ", 0) == 0) name = name.substr(5);  // the return type, which only templates have
  return name;
}

PtxasLog parse_ptxas_log(const std::string& text, const std::string& file) {
  static const std::regex kKernel(R"(Compiling entry function '([^']+)' for '([^']+)')");
  static const std::regex kLoss(R"(\(C\d+\) Potential Performance Loss: .*)");
  static const std::regex kSpills(
      R"((\d+) bytes stack frame, (\d+) bytes spill stores, (\d+) bytes spill loads)");
  static const std::regex kRegisters(R"(Used (\d+) registers(?:.*?(\d+) bytes smem)?)");
  PtxasLog log;
  std::istringstream lines(text);
  bool complete = true;  // the kernel in hand has been told about
  for (std::string line; std::getline(lines, line);) {
    std::smatch m;
    if (std::regex_search(line, m, kLoss)) {
      log.performance_losses.push_back(m.str());
    } else if (std::regex_search(line, m, kKernel)) {
      check(complete, file, ": no registers of ", complete ? "" : log.kernels.back().name);
      log.kernels.push_back({.name = readable_name(m[1]), .architecture = m[2]});
      complete = false;
    } else if (!complete && std::regex_search(line, m, kSpills)) {
      CompiledKernel& k = log.kernels.back();
      k.stack = std::stoi(m[1]), k.spill_stores = std::stoi(m[2]), k.spill_loads = std::stoi(m[3]);
    } else if (!complete && std::regex_search(line, m, kRegisters)) {
      log.kernels.back().registers = std::stoi(m[1]);
      if (m[2].matched) log.kernels.back().static_shared = std::stoi(m[2]);
      complete = true;
    }
  }
  check(complete, file, " breaks off");
  return log;
}

}  // namespace imago::cuda_resources
