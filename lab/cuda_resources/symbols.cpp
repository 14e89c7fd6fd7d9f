#include "lab/cuda_resources/symbols.h"

#include <elf.h>
#include <link.h>

#include <cstring>
#include <fstream>
#include <iterator>
#include <vector>

#include "kernels/error.h"

namespace imago::cuda_resources {

namespace {

std::vector<char> own_file() {
  std::ifstream file("/proc/self/exe", std::ios::binary);
  return {std::istreambuf_iterator<char>(file), {}};
}

template <class T>
T read_at(const std::vector<char>& file, size_t offset) {
  check(offset + sizeof(T) <= file.size(), "/proc/self/exe: an ELF file was expected");
  T value;
  std::memcpy(&value, file.data() + offset, sizeof value);
  return value;
}

}  // namespace

Symbols::Symbols() {
  // The program itself is the first object that is named.
  dl_iterate_phdr(
      [](dl_phdr_info* info, size_t, void* address) {
        *static_cast<uintptr_t*>(address) = info->dlpi_addr;
        return 1;
      },
      &load_address_);
  const std::vector<char> file = own_file();
  const auto header = read_at<Elf64_Ehdr>(file, 0);
  const auto section = [&](size_t i) {
    return read_at<Elf64_Shdr>(file, header.e_shoff + i * sizeof(Elf64_Shdr));
  };
  for (size_t i = 0; i < header.e_shnum; ++i) {
    const Elf64_Shdr table = section(i);
    if (table.sh_type != SHT_SYMTAB) continue;
    const char* const names = file.data() + section(table.sh_link).sh_offset;
    for (size_t at = table.sh_offset; at < table.sh_offset + table.sh_size; at += sizeof(Elf64_Sym)) {
      const auto symbol = read_at<Elf64_Sym>(file, at);
      if (ELF64_ST_TYPE(symbol.st_info) == STT_FUNC) functions_[symbol.st_value] = names + symbol.st_name;
    }
  }
}

const std::string& Symbols::name_of(const void* function) const {
  const auto found = functions_.find(reinterpret_cast<uintptr_t>(function) - load_address_);
  check(found != functions_.end(), "no symbol for a kernel: the program was expected not to be stripped");
  return found->second;
}

}  // namespace imago::cuda_resources
