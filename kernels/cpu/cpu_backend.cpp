// The CPU backend's memory.
#include "kernels/cpu/cpu_backend.h"

#include <sys/mman.h>

#include <cstdlib>
#include <cstring>

#include "kernels/cpu/parallel.h"

namespace imago {

namespace {

constexpr size_t kAlignment = 256, kHugePage = size_t{2} << 20;

size_t rounded_up(size_t bytes, size_t unit) {
  return (bytes + unit - 1) / unit * unit;
}

/// Whole huge pages, aligned to them. A fresh 4 KiB page costs 13 to 20 us where pages are slow to come by,
/// so a step's activations (hundreds of MiB) would cost seconds; huge pages ask for 512 times fewer faults.
void* map_huge(size_t bytes) {
  const size_t size = rounded_up(bytes, kHugePage);
  void* raw = mmap(nullptr, size + kHugePage, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (raw == MAP_FAILED) return nullptr;
  char* begin = static_cast<char*>(raw);
  char* aligned = reinterpret_cast<char*>(rounded_up(reinterpret_cast<size_t>(begin), kHugePage));
  if (aligned > begin) munmap(begin, static_cast<size_t>(aligned - begin));
  const size_t tail = static_cast<size_t>(begin + size + kHugePage - (aligned + size));
  if (tail > 0) munmap(aligned + size, tail);
  madvise(aligned, size, MADV_HUGEPAGE);  // a hint: small pages are right too, only slower
  return aligned;
}

}  // namespace

const char* CpuBackend::name() const {
  if (!only_) return "cpu";
  switch (*only_) {
    case cpu::ConvWay::kOneDnn: return "cpu_onednn";
    case cpu::ConvWay::kDirect: return "cpu_direct";
    case cpu::ConvWay::kWinograd: return "cpu_winograd";
  }
  return "cpu";
}

bool CpuBackend::supports(DType t) const {
  return t == DType::kFloat32 || t == DType::kBFloat16;
}

void* CpuBackend::allocate(size_t bytes) {
  if (bytes > SIZE_MAX / 2) return nullptr;
  if (bytes >= kHugePage) return map_huge(bytes);
  return std::aligned_alloc(kAlignment, rounded_up(std::max<size_t>(bytes, 1), kAlignment));
}

void CpuBackend::deallocate(void* p, size_t bytes) {
  if (!p) return;
  if (bytes >= kHugePage) {
    munmap(p, rounded_up(bytes, kHugePage));
  } else {
    std::free(p);
  }
}

void CpuBackend::upload(void* device, const void* host, size_t bytes) {
  std::memcpy(device, host, bytes);
}

void CpuBackend::download(void* host, const void* device, size_t bytes) {
  std::memcpy(host, device, bytes);
}

Backend& cpu_backend() {
  static CpuBackend backend({}, cpu::ConvChoices::from_environment());
  return backend;
}

}  // namespace imago
