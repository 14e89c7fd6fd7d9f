// The functions of the running program by address.
#pragma once

#include <cstdint>
#include <map>
#include <string>

namespace imago::cuda_resources {

/// Reads the symbol table of this program's own file (ELF-64): unlike dladdr(), it has functions of
/// anonymous namespaces, too.
class Symbols {
 public:
  Symbols();
  /// Mangled. Throws Error where no function begins at the address.
  const std::string& name_of(const void* function) const;

 private:
  uintptr_t load_address_ = 0;
  std::map<uintptr_t, std::string> functions_;  // by address in the file
};

}  // namespace imago::cuda_resources
