#include "lab/cuda_resources/resources.h"

#include <algorithm>
#include <cstdarg>
#include <cstdio>
#include <map>
#include <ostream>
#include <regex>
#include <set>

#include "kernels/error.h"
#include "lab/cuda_resources/occupancy.h"

namespace imago::cuda_resources {

namespace {

/// How `kernel` is launched on GPUs of its architecture; null where it never is.
const Launched* launched(const CompiledKernel& kernel, const Launches& launches) {
  const auto name = launches.find(kernel.name);
  if (name == launches.end()) return nullptr;
  const auto gpu = name->second.find(kernel.architecture);
  return gpu == name->second.end() ? nullptr : &gpu->second;
}

size_t shared_bytes(const CompiledKernel& kernel, const Launched& l) {
  return static_cast<size_t>(kernel.static_shared) + l.dynamic_shared;
}

int blocks_of(const CompiledKernel& kernel, const Launched& l) {
  return blocks_per_multiprocessor(multiprocessor(kernel.architecture), l.threads, kernel.registers,
                                   shared_bytes(kernel, l));
}

std::string formatted(const char* format, ...) {
  char text[256];
  va_list arguments;
  va_start(arguments, format);
  std::vsnprintf(text, sizeof text, format, arguments);
  va_end(arguments);
  return text;
}

/// "128  64.0   2  25%": of one architecture.
std::string cells(const CompiledKernel& kernel, const Launched* l, const char* between) {
  if (!l) return formatted("%5s%s%6s%s%6s%s%5s", "-", between, "", between, "", between, "");
  const int blocks = blocks_of(kernel, *l), warps = blocks * (l->threads / 32);
  return formatted("%5d%s%6.1f%s%6d%s%4d%%", kernel.registers, between,
                   static_cast<double>(shared_bytes(kernel, *l)) / 1024, between, blocks, between,
                   100 * warps / multiprocessor(kernel.architecture).warps);
}

}  // namespace

std::vector<std::string> faults_of(const PtxasLog& log, const Launches& launches) {
  std::vector<std::string> faults = log.performance_losses;
  std::set<std::string> unlaunched;
  for (const CompiledKernel& k : log.kernels) {
    const std::string what = k.name + " on " + k.architecture;
    if (k.spill_stores || k.spill_loads)
      faults.push_back(
          str(what, " spills registers: ", k.spill_stores, " bytes stored, ", k.spill_loads, " loaded"));
    if (const Launched* l = launched(k, launches); l && blocks_of(k, *l) == 0)
      faults.push_back(what + ": not even one block fits a multiprocessor");
    if (!launches.contains(k.name)) unlaunched.insert(k.name);
  }
  for (const std::string& name : unlaunched)
    faults.push_back(name + " is launched by no case of the op table");
  for (const auto& [name, gpus] : launches) {
    const auto is_it = [&](const CompiledKernel& k) { return k.name == name; };
    if (std::none_of(log.kernels.begin(), log.kernels.end(), is_it))
      faults.push_back(name + " is launched, but ptxas has not compiled it");
  }
  return faults;
}

void print_table(std::ostream& out, const PtxasLog& log, const Launches& launches, const std::string& only,
                 bool markdown) {
  std::map<std::string, std::map<std::string, CompiledKernel>> rows;  // by name, by architecture
  std::vector<std::string> architectures;                             // as ptxas mentions them
  size_t width = 0;
  for (const CompiledKernel& k : log.kernels) {
    if (!std::regex_search(k.name, std::regex(only))) continue;
    rows[k.name][k.architecture] = k;
    if (!std::count(architectures.begin(), architectures.end(), k.architecture))
      architectures.push_back(k.architecture);
    width = std::max(width, k.name.size());
  }
  const int w = static_cast<int>(width) + (markdown ? 2 : 0);
  const char* const between = markdown ? " | " : " ";
  const char* const edge = markdown ? "| " : "";
  std::string titles = formatted("%s%-*s%s%7s", edge, w, "kernel", between, "threads");
  for (const std::string& architecture : architectures)
    titles += between + formatted("%5s%s%6s%s%6s%s%5s", architecture.c_str(), between, "KiB", between,
                                  "blocks", between, "warps");
  out << titles << (markdown ? " |\n" : "\n");
  if (markdown) {
    out << "|---";
    for (size_t i = 0; i < 1 + 4 * architectures.size(); ++i) out << "|--:";
    out << "|\n";
  }
  for (const auto& [name, kernels] : rows) {
    int threads = 0;
    for (const auto& [architecture, k] : kernels)
      if (const Launched* l = launched(k, launches)) threads = std::max(threads, l->threads);
    const std::string shown = markdown ? "`" + name + "`" : name;
    out << edge << formatted("%-*s%s%7d", w, shown.c_str(), between, threads);
    for (const std::string& architecture : architectures) {
      const CompiledKernel& k = kernels.at(architecture);
      out << between << cells(k, launched(k, launches), between);
    }
    out << (markdown ? " |\n" : "\n");
  }
}

}  // namespace imago::cuda_resources
