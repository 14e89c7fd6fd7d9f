// A caching allocator per device: memory that was freed is kept and handed out again, so that training in its
// steady state asks the device for nothing.
#pragma once

#include <cstddef>
#include <cstdint>

#include "engine/tensor/device.h"

namespace imago {

struct MemoryStats {
  int64_t device_allocations = 0;  // how often the device was asked: stands still in the steady state
  int64_t bytes_in_use = 0;        // held by living tensors and workspaces
  int64_t peak_bytes = 0;          // the most that was ever in use (since reset_peak)
  int64_t bytes_reserved = 0;      // held from the device, in use or cached
};

/// Best fit with splitting and merging. Large segments are taken from the device (at least 32 MiB on a first
/// request of that order), blocks are cut from them in multiples of 256 bytes, and neighbours merge when both
/// are free.
///
/// Ordered by the stream: a block that was freed may be handed out while the device still reads it, since all
/// work of a device runs in the order in which it was enqueued, and so whoever gets the block comes later.
class Allocator {
 public:
  virtual ~Allocator() = default;
  /// Throws a failure that says what was asked, what is in use and what to reduce.
  virtual void* allocate(size_t bytes) = 0;
  virtual void free(void* p) = 0;
  virtual MemoryStats stats() const = 0;
  virtual void reset_peak() = 0;
  /// Gives wholly free segments back to the device, but for those of living MemoryPools.
  virtual void release_cached() = 0;

 private:
  friend class MemoryPool;
  virtual int make_pool() = 0;
  virtual void retire_pool(int pool) = 0;
};

Allocator& allocator_of(Device device);

/// Memory of one's own within a device's allocator: what is freed to it is handed out to nobody else. For a
/// captured graph, whose temporary tensors keep their addresses while they are free between two launches.
class MemoryPool {
 public:
  explicit MemoryPool(Device device);
  MemoryPool(const MemoryPool&) = delete;
  ~MemoryPool();  // its memory is kept for the next pool

  /// While alive, what this thread allocates on the pool's device comes from the pool.
  class Scope {
   public:
    explicit Scope(const MemoryPool& pool);
    Scope(const Scope&) = delete;
    ~Scope();

   private:
    Device device_;
    int before_;
  };

 private:
  Device device_;
  int id_;
};

/// A workspace that lives as long as the backend call it is made for: `ScratchSpace scratch(device);
/// backend.conv2d(..., scratch)`.
class ScratchSpace final : public Workspace {
 public:
  explicit ScratchSpace(Device device) : device_(device) {}
  ScratchSpace(const ScratchSpace&) = delete;
  ~ScratchSpace() override;
  void* get(size_t bytes) override;

 private:
  Device device_;
  void* block_ = nullptr;
};

}  // namespace imago
