// Device memory is host memory with NaN in it and red zones around it. Freed memory is filled with NaN
// again. Callers hold the runtime's lock, and kernels run under it: nothing here changes while a kernel
// looks up an address.
#include "lab/cuda_on_cpu/memory.h"

#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <map>

#include "lab/cuda_on_cpu/emulator.h"
#include "lab/cuda_on_cpu/report.h"
#include "lab/cuda_on_cpu/sanitizer_hooks.h"

namespace imago::cuda_on_cpu::emu {
namespace {

constexpr size_t kAlignment = 256;  // what cudaMalloc promises
constexpr size_t kRedZone = 256;
constexpr unsigned char kRedZoneByte = 0xa5, kNaN = 0xff;

struct Memory {
  std::map<const unsigned char*, size_t> device, pinned;
  std::map<const unsigned char*, bool> pinned_is_ours;
  size_t used = 0;
  uint64_t changes = 1;
};
Memory& memory() {
  static Memory* m = new Memory;  // never destroyed: freed by other static objects' destructors, perhaps
  return *m;
}

// The block of `blocks` that holds p, or end.
template <class Map>
auto find(Map& blocks, const void* p) {
  auto it = blocks.upper_bound(static_cast<const unsigned char*>(p));
  if (it == blocks.begin()) return blocks.end();
  --it;
  return static_cast<const unsigned char*>(p) < it->first + it->second ? it : blocks.end();
}

size_t tail_of(size_t bytes) {
  return (bytes + kAlignment - 1) / kAlignment * kAlignment - bytes + kRedZone;
}

void poison(const unsigned char* p, size_t bytes, bool on) {
  if (on && __asan_poison_memory_region) __asan_poison_memory_region(p, bytes);
  if (!on && __asan_unpoison_memory_region) __asan_unpoison_memory_region(p, bytes);
}

void check_zone(const unsigned char* zone, size_t bytes, const unsigned char* base, size_t size,
                SourceLine where) {
  if (under_asan()) return;  // the zones are poisoned, every access is reported when it happens
  for (size_t i = 0; i < bytes; ++i)
    if (zone[i] != kRedZoneByte)
      die(where, "out-of-bounds store: byte %td of a device allocation of %zu bytes was written",
          zone + i - base, size);
}

}  // namespace

size_t device_bytes_total() {
  static const size_t total = [] {
    const char* mib = std::getenv("IMAGO_EMU_MEMORY_MB");
    return (mib ? std::strtoull(mib, nullptr, 10) : 16384ull) << 20;
  }();
  return total;
}
size_t device_bytes_used() {
  return memory().used;
}

void* allocate_device(size_t bytes) {
  Memory& m = memory();
  if (m.used + bytes > device_bytes_total()) return nullptr;
  const size_t tail = tail_of(bytes);
  auto* raw = static_cast<unsigned char*>(std::aligned_alloc(kAlignment, kRedZone + bytes + tail));
  if (!raw) return nullptr;
  unsigned char* p = raw + kRedZone;
  std::memset(raw, kRedZoneByte, kRedZone);
  std::memset(p, kNaN, bytes);
  std::memset(p + bytes, kRedZoneByte, tail);
  poison(raw, kRedZone, true);
  poison(p + bytes, tail, true);
  m.device[p] = bytes;
  ++m.changes;
  m.used += bytes;
  return p;
}

bool free_device(void* p) {
  Memory& m = memory();
  auto it = m.device.find(static_cast<unsigned char*>(p));
  if (it == m.device.end()) return false;
  auto* base = static_cast<unsigned char*>(p);
  const size_t bytes = it->second;
  check_zone(base - kRedZone, kRedZone, base, bytes, {});
  check_zone(base + bytes, tail_of(bytes), base, bytes, {});
  poison(base - kRedZone, kRedZone + bytes + tail_of(bytes), false);
  std::memset(p, kNaN, bytes);
  std::free(base - kRedZone);
  m.used -= bytes;
  m.device.erase(it);
  ++m.changes;
  return true;
}

bool in_device_memory(const void* p, size_t bytes) {
  Memory& m = memory();
  auto it = find(m.device, p);
  return it != m.device.end() && static_cast<const unsigned char*>(p) + bytes <= it->first + it->second;
}

void check_device_red_zones(SourceLine where) {
  if (under_asan()) return;
  Memory& m = memory();
  for (auto& [base, bytes] : m.device) {
    check_zone(base - kRedZone, kRedZone, base, bytes, where);
    check_zone(base + bytes, tail_of(bytes), base, bytes, where);
  }
}

void* allocate_pinned(size_t bytes) {
  void* p = std::aligned_alloc(4096, (bytes + 4095) / 4096 * 4096 + (bytes == 0) * 4096);
  if (!p) return nullptr;
  std::memset(p, kNaN, bytes);
  Memory& m = memory();
  m.pinned[static_cast<unsigned char*>(p)] = bytes;
  m.pinned_is_ours[static_cast<unsigned char*>(p)] = true;
  return p;
}

void register_pinned(void* p, size_t bytes) {
  Memory& m = memory();
  m.pinned[static_cast<unsigned char*>(p)] = bytes;
}

bool free_pinned(void* p) {
  Memory& m = memory();
  auto* key = static_cast<unsigned char*>(p);
  if (!m.pinned.erase(key)) return false;
  ++m.changes;
  if (m.pinned_is_ours.erase(key)) std::free(p);
  return true;
}

bool is_pinned(const void* p) {
  Memory& m = memory();
  return find(m.pinned, p) != m.pinned.end();
}

void check_global(const char* op, const void* p, size_t bytes, SourceLine where) {
  // Most accesses fall into the allocation of the one before.
  thread_local const unsigned char *begin = nullptr, *end = nullptr;
  thread_local uint64_t looked_up = 0;
  auto* q = static_cast<const unsigned char*>(p);
  Memory& m = memory();
  if (looked_up != m.changes || q < begin || q >= end) {
    auto it = find(m.device, p);
    if (it == m.device.end()) {
      it = find(m.pinned, p);
      if (it == m.pinned.end()) die(where, "%s: %p is not in device memory", op, p);
    }
    begin = it->first, end = it->first + it->second;
    looked_up = m.changes;
  }
  if (q + bytes > end)
    die(where, "%s: out of bounds, bytes %td..%td of an allocation of %td", op, q - begin,
        q - begin + static_cast<ptrdiff_t>(bytes) - 1, end - begin);
}

}  // namespace imago::cuda_on_cpu::emu
