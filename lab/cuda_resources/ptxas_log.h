// What ptxas says of the kernels it compiles (nvcc -Xptxas=--verbose), read from a log of a .cu file.
#pragma once

#include <string>
#include <vector>

namespace imago::cuda_resources {

/// One kernel for one architecture.
struct CompiledKernel {
  std::string name;          // as people read it: readable_name()
  std::string architecture;  // "sm_90a"
  int registers = 0;         // a thread
  int static_shared = 0;     // bytes a block
  int stack = 0;  // bytes a thread in local memory: spilled registers, and arrays indexed at run time
  int spill_stores = 0, spill_loads = 0;  // bytes a thread
};

struct PtxasLog {
  std::vector<CompiledKernel> kernels;
  /// "Potential Performance Loss": wgmma that runs serialized (C7510 to C7514), setmaxnreg that is ignored
  /// (C7508). nvcc takes them for information and succeeds.
  std::vector<std::string> performance_losses;
};

/// Throws Error where the text is not what ptxas writes.
PtxasLog parse_ptxas_log(const std::string& text, const std::string& file);

/// A kernel's demangled name without what does not tell kernels apart: return type, parameters, namespaces.
/// The name from nvcc and that of the same kernel compiled for the CPU become equal.
std::string readable_name(const std::string& mangled);

}  // namespace imago::cuda_resources
