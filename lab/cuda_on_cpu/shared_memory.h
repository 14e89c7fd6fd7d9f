// The shared memory of a block: an arena with 18-bit addresses, NaN at the start, red zones between the
// arrays, and a second copy that holds what the async proxy (TMA, wgmma) can see.
//
// A generic store reaches the async proxy only through fence.proxy.async. So the copy is brought up to date
// by fences and by the async proxy's own writes; an asynchronous read compares both and reports bytes that
// differ. What this cannot see: a fence by one thread counts for all stores made before it in the schedule,
// also those of other threads. Shuffled schedules make such luck rare.
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

#include "kernels/cuda/source_line.h"

namespace imago::cuda_on_cpu::emu {

class SharedMemory {
 public:
  static constexpr uint32_t kBase = 1024;  // the address of the first byte; hardware keeps 1 KiB too
  static constexpr size_t kCapacity = (256 << 10) - kBase;
  static constexpr size_t kMaxBytes = 227 << 10;  // per block on sm_90, static and dynamic together
  static constexpr size_t kMaxStaticBytes = 48 << 10;
  static constexpr size_t kRedZone = 128;

  SharedMemory();
  ~SharedMemory();
  SharedMemory(const SharedMemory&) = delete;

  /// Starts a block: dynamic shared memory of this size, no static arrays yet.
  void begin(size_t dynamic_bytes);
  /// Ends a block: dies if a red zone was written to.
  void end();
  void* declare(const void* key, const char* name, size_t bytes, size_t alignment);
  unsigned char* dynamic() { return arena_; }

  bool contains(const void* p, size_t bytes) const;  // inside one of the arrays
  bool in_arena(const void* p) const {
    return static_cast<size_t>(static_cast<const unsigned char*>(p) - arena_) < kCapacity;
  }
  uint32_t address(const void* p) const {
    return static_cast<uint32_t>(static_cast<const unsigned char*>(p) - arena_) + kBase;
  }
  unsigned char* at(uint32_t address) { return arena_ + (address - kBase); }

  /// fence.proxy.async: generic stores so far become visible to the async proxy.
  void fence();
  /// `bytes` at `address` as the async proxy sees them. Dies if a generic store there was not fenced.
  const unsigned char* async_read(uint32_t address, size_t bytes, const char* op, SourceLine where);
  /// A write by the async proxy, visible to both.
  void async_write(uint32_t address, const void* data, size_t bytes);
  /// Garbage for as long as an asynchronous write is on its way.
  void async_poison(uint32_t address, size_t bytes);

 private:
  struct Array {
    const void* key;
    const char* name;
    size_t begin, end;
  };
  void open_array(const Array& a);
  void open_view();

  unsigned char* arena_;
  unsigned char* view_;     // what the async proxy sees
  bool view_open_ = false;  // the view is set up only when a block uses it
  size_t used_ = 0, static_bytes_ = 0, poisoned_ = 0;
  std::vector<Array> arrays_;
};

}  // namespace imago::cuda_on_cpu::emu
