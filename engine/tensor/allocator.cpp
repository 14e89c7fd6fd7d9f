#include "engine/tensor/allocator.h"

#include <algorithm>
#include <compare>
#include <map>
#include <memory>
#include <mutex>
#include <set>
#include <unordered_map>
#include <utility>
#include <vector>

namespace imago {

namespace {

constexpr size_t kAlignment = 256;                 // every block starts at a multiple of this and is one long
constexpr size_t kSmallSegment = size_t{2} << 20;  // what is taken from the device for a request below 1 MiB
constexpr size_t kLargeSegment = size_t{32} << 20;  // ... and at least for a larger one
constexpr size_t kSmallRequest = size_t{1} << 20;

size_t round_up(size_t n, size_t to) {
  return (n + to - 1) / to * to;
}

constexpr int kEverybody = 0;  // the pool outside of every MemoryPool::Scope

/// Where this thread's allocations on a device come from.
int& current_pool(Device device) {
  thread_local std::map<Device, int> pools;  // kEverybody at first
  return pools[device];
}

std::string mib(size_t bytes) {
  return str(static_cast<int64_t>((bytes + (1 << 19)) >> 20), " MiB");
}

class CachingAllocator final : public Allocator {
 public:
  explicit CachingAllocator(Device device) : device_(device), backend_(backend_of(device)) {}

  void* allocate(size_t bytes) override {
    const std::lock_guard lock(mutex_);
    bytes = round_up(std::max<size_t>(bytes, 1), kAlignment);
    const int pool = current_pool(device_);
    auto fit = free_.lower_bound({pool, bytes, nullptr});
    if (fit == free_.end() || fit->pool != pool) {
      add_segment(bytes, pool);
      fit = free_.lower_bound({pool, bytes, nullptr});
    }
    char* start = fit->start;
    free_.erase(fit);
    Block& block = blocks_.at(start);
    if (block.bytes > bytes) {  // cut off the rest
      const Block rest{block.bytes - bytes, block.segment, true};
      blocks_.emplace(start + bytes, rest);
      free_.insert({pool, rest.bytes, start + bytes});
      block.bytes = bytes;
    }
    block.free = false;
    stats_.bytes_in_use += static_cast<int64_t>(bytes);
    stats_.peak_bytes = std::max(stats_.peak_bytes, stats_.bytes_in_use);
    return start;
  }

  void free(void* p) override {
    const std::lock_guard lock(mutex_);
    auto block = blocks_.find(static_cast<char*>(p));
    check(block != blocks_.end() && !block->second.free, "allocator: freed twice, or not from here");
    stats_.bytes_in_use -= static_cast<int64_t>(block->second.bytes);
    const int pool = segments_.at(block->second.segment).pool;
    block->second.free = true;
    if (const auto next = std::next(block); next != blocks_.end() && mergeable(*block, *next)) {
      free_.erase({pool, next->second.bytes, next->first});
      block->second.bytes += next->second.bytes;
      blocks_.erase(next);
    }
    if (block != blocks_.begin()) {
      if (const auto before = std::prev(block); before->second.free && mergeable(*before, *block)) {
        free_.erase({pool, before->second.bytes, before->first});
        before->second.bytes += block->second.bytes;
        blocks_.erase(block);
        block = before;
      }
    }
    free_.insert({pool, block->second.bytes, block->first});
  }

  MemoryStats stats() const override {
    const std::lock_guard lock(mutex_);
    return stats_;
  }

  void reset_peak() override {
    const std::lock_guard lock(mutex_);
    stats_.peak_bytes = stats_.bytes_in_use;
  }

  void release_cached() override {
    const std::lock_guard lock(mutex_);
    release_free_segments();
  }

 private:
  struct Segment {
    size_t bytes;  // as taken from the device
    int pool;
  };
  struct FreeBlock {  // in this order, the first of a pool that is large enough fits best
    int pool;
    size_t bytes;
    char* start;
    auto operator<=>(const FreeBlock&) const = default;
  };
  struct Block {
    size_t bytes;
    char* segment;  // blocks merge only within the segment they were cut from
    bool free;
  };
  using Entry = std::map<char*, Block>::value_type;

  static bool mergeable(const Entry& a, const Entry& b) {
    return a.second.segment == b.second.segment && b.second.free;
  }

  int make_pool() override {
    const std::lock_guard lock(mutex_);
    if (retired_.empty()) return ++pools_made_;
    const int pool = retired_.back();
    retired_.pop_back();
    return pool;
  }

  void retire_pool(int pool) override {
    const std::lock_guard lock(mutex_);
    retired_.push_back(pool);
  }

  bool in_use(int pool) const {
    return pool != kEverybody && std::find(retired_.begin(), retired_.end(), pool) == retired_.end();
  }

  void add_segment(size_t bytes, int pool) {
    const size_t wanted =
        bytes < kSmallRequest ? kSmallSegment : round_up(std::max(bytes, kLargeSegment), kSmallSegment);
    void* p = backend_.allocate(wanted);
    if (!p) {
      release_free_segments();
      p = backend_.allocate(wanted);
    }
    if (!p) {
      const DeviceMemory memory = backend_.memory();
      failure("out of memory on ", device_, ": asked for ", mib(wanted), " with ",
              mib(static_cast<size_t>(stats_.bytes_in_use)), " in use",
              memory.total ? str(" and ", mib(memory.free), " of ", mib(memory.total), " free") : "",
              "; a smaller batch or resolution, or gradient checkpointing, needs less");
    }
    auto* start = static_cast<char*>(p);
    segments_[start] = {wanted, pool};
    blocks_[start] = {wanted, start, true};
    free_.insert({pool, wanted, start});
    stats_.device_allocations++;
    stats_.bytes_reserved += static_cast<int64_t>(wanted);
  }

  void release_free_segments() {
    for (auto s = segments_.begin(); s != segments_.end();) {
      const auto [start, segment] = *s;
      const size_t bytes = segment.bytes;
      const Block& block = blocks_.at(start);
      if (in_use(segment.pool) || !block.free || block.bytes != bytes) {
        ++s;
        continue;
      }
      free_.erase({segment.pool, bytes, start});
      blocks_.erase(start);
      backend_.deallocate(start, bytes);
      stats_.bytes_reserved -= static_cast<int64_t>(bytes);
      s = segments_.erase(s);
    }
  }

  Device device_;
  Backend& backend_;
  mutable std::mutex mutex_;
  MemoryStats stats_;
  int pools_made_ = kEverybody;
  std::vector<int> retired_;           // pools without an owner, which keep their memory for the next
  std::map<char*, Segment> segments_;  // by start
  std::map<char*, Block> blocks_;      // by start, in the order of addresses
  std::set<FreeBlock> free_;
};

}  // namespace

Allocator& allocator_of(Device device) {
  // Never destroyed: tensors with static lifetime may outlive any order of destruction we could choose.
  static auto& allocators = *new std::unordered_map<int, std::unique_ptr<CachingAllocator>>;
  static std::mutex mutex;
  const std::lock_guard lock(mutex);
  auto& allocator = allocators[static_cast<int>(device)];
  if (!allocator) allocator = std::make_unique<CachingAllocator>(device);
  return *allocator;
}

MemoryPool::MemoryPool(Device device) : device_(device), id_(allocator_of(device).make_pool()) {}
MemoryPool::~MemoryPool() {
  allocator_of(device_).retire_pool(id_);
}
MemoryPool::Scope::Scope(const MemoryPool& pool)
    : device_(pool.device_), before_(std::exchange(current_pool(pool.device_), pool.id_)) {}
MemoryPool::Scope::~Scope() {
  current_pool(device_) = before_;
}

ScratchSpace::~ScratchSpace() {
  if (block_) allocator_of(device_).free(block_);
}

void* ScratchSpace::get(size_t bytes) {
  check(block_ == nullptr, "an operation asked its workspace for memory twice");
  block_ = allocator_of(device_).allocate(bytes);
  return block_;
}

}  // namespace imago
