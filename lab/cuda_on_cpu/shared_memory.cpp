#include "lab/cuda_on_cpu/shared_memory.h"

#include <sys/mman.h>

#include <algorithm>

#include "kernels/error.h"
#include "lab/cuda_on_cpu/emulator.h"
#include "lab/cuda_on_cpu/quiet.h"
#include "lab/cuda_on_cpu/report.h"
#include "lab/cuda_on_cpu/sanitizer_hooks.h"
#include "lab/cuda_on_cpu/worker.h"

namespace imago::cuda_on_cpu::emu {
namespace {

constexpr int kNaN = 0xff;  // four of them are a NaN as float, two as bfloat16
constexpr int kRedZoneByte = 0xa5;

void poison(unsigned char* p, size_t n) {
  quiet_fill(p, kRedZoneByte, n);
  if (__asan_poison_memory_region) __asan_poison_memory_region(p, n);
}
void unpoison(unsigned char* p, size_t n) {
  if (__asan_unpoison_memory_region) __asan_unpoison_memory_region(p, n);
}

}  // namespace

SharedMemory::SharedMemory() {
  // One mapping for both copies, in front of it a page that nobody may touch.
  constexpr size_t kGuard = 4096;
  void* p = mmap(nullptr, 2 * (kGuard + kCapacity + kBase), PROT_READ | PROT_WRITE,
                 MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  check(p != MAP_FAILED, "cuda_on_cpu: no memory for the shared memory of a block");
  mprotect(p, kGuard, PROT_NONE);
  arena_ = static_cast<unsigned char*>(p) + kGuard;
  view_ = arena_ + kCapacity + kBase;
}

SharedMemory::~SharedMemory() {
  munmap(arena_ - 4096, 2 * (4096 + kCapacity + kBase));
}

void SharedMemory::begin(size_t dynamic_bytes) {
  arrays_.clear();
  used_ = static_bytes_ = 0;
  view_open_ = false;
  unpoison(arena_, poisoned_);
  poisoned_ = 0;
  open_array({nullptr, "dynamic shared memory", 0, dynamic_bytes});
}

void SharedMemory::open_array(const Array& a) {
  unpoison(arena_ + a.begin, a.end - a.begin);
  quiet_fill(arena_ + a.begin, kNaN, a.end - a.begin);
  if (view_open_) quiet_fill(view_ + a.begin, kNaN, a.end - a.begin);
  used_ = (a.end + kRedZone + 127) / 128 * 128;
  poison(arena_ + a.end, used_ - a.end);
  poisoned_ = std::max(poisoned_, used_);
  arrays_.push_back(a);
}

void* SharedMemory::declare(const void* key, const char* name, size_t bytes, size_t alignment) {
  for (const Array& a : arrays_)
    if (a.key == key) return arena_ + a.begin;
  const size_t begin = (used_ + alignment - 1) / alignment * alignment;
  static_bytes_ += bytes;
  if (static_bytes_ > kMaxStaticBytes)
    die({}, "static shared memory: %zu bytes with '%s', the limit is %zu", static_bytes_, name,
        kMaxStaticBytes);
  if (static_bytes_ + arrays_[0].end > kMaxBytes || begin + bytes + kRedZone > kCapacity)
    die({}, "shared memory: %zu static and %zu dynamic bytes are over the limit of %zu", static_bytes_,
        arrays_[0].end, kMaxBytes);
  open_array({key, name, begin, begin + bytes});
  return arena_ + begin;
}

void SharedMemory::end() {
  for (const Array& a : arrays_) {
    const size_t zone_end = (a.end + kRedZone + 127) / 128 * 128;
    unpoison(arena_ + a.end, zone_end - a.end);
    for (size_t i = a.end; i < zone_end; ++i)
      if (arena_[i] != kRedZoneByte)
        die({}, "out-of-bounds store: byte %zu of '%s', which has %zu bytes, was written", i - a.begin,
            a.name, a.end - a.begin);
  }
}

bool SharedMemory::contains(const void* p, size_t bytes) const {
  const size_t offset = static_cast<size_t>(static_cast<const unsigned char*>(p) - arena_);
  for (const Array& a : arrays_)
    if (offset >= a.begin && offset + bytes <= a.end) return true;
  return false;
}

// ---- async proxy ----
void SharedMemory::open_view() {
  if (view_open_) return;
  quiet_fill(view_, kNaN, used_);
  view_open_ = true;
}

void SharedMemory::fence() {
  open_view();
  for (const Array& a : arrays_) quiet_copy(view_ + a.begin, arena_ + a.begin, a.end - a.begin);
}

const unsigned char* SharedMemory::async_read(uint32_t address, size_t bytes, const char* op,
                                              SourceLine where) {
  open_view();
  const unsigned char* generic = at(address);
  if (!contains(generic, bytes))
    die(where, "%s reads %zu bytes at shared address %u, outside of every array", op, bytes, address);
  const unsigned char* seen = view_ + (generic - arena_);
  if (!quiet_equal(generic, seen, bytes))
    die(where,
        "%s reads shared memory (address %u) written by ordinary stores with no fence.proxy.async in between",
        op, address);
  return seen;
}

void SharedMemory::async_write(uint32_t address, const void* data, size_t bytes) {
  open_view();
  quiet_copy(at(address), data, bytes);
  quiet_copy(view_ + (address - kBase), data, bytes);
}

void SharedMemory::async_poison(uint32_t address, size_t bytes) {
  open_view();
  quiet_fill(at(address), kNaN, bytes);
  quiet_fill(view_ + (address - kBase), kNaN, bytes);
}

// ---- called by the kernels ----
void* static_shared(const void* key, const char* name, size_t bytes, size_t alignment) {
  return worker->shared.declare(key, name, bytes, alignment);
}
void* dynamic_shared() {
  return worker->shared.dynamic();
}
uint32_t shared_address(const void* p) {
  return worker->shared.address(p);
}
void fence_proxy_async() {
  worker->shared.fence();
  worker->mbarriers.fence();
}

}  // namespace imago::cuda_on_cpu::emu
