#include "engine/tensor/allocator.h"

#include <algorithm>
#include <map>
#include <memory>
#include <mutex>
#include <set>
#include <unordered_map>

namespace imago {

namespace {

constexpr size_t kAlignment = 256;                 // every block starts at a multiple of this and is one long
constexpr size_t kSmallSegment = size_t{2} << 20;  // what is taken from the device for a request below 1 MiB
constexpr size_t kLargeSegment = size_t{32} << 20;  // ... and at least for a larger one
constexpr size_t kSmallRequest = size_t{1} << 20;

size_t round_up(size_t n, size_t to) {
  return (n + to - 1) / to * to;
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
    auto fit = free_.lower_bound({bytes, nullptr});
    if (fit == free_.end()) {
      add_segment(bytes);
      fit = free_.lower_bound({bytes, nullptr});
    }
    char* start = fit->second;
    free_.erase(fit);
    Block& block = blocks_.at(start);
    if (block.bytes > bytes) {  // cut off the rest
      const Block rest{block.bytes - bytes, block.segment, true};
      blocks_.emplace(start + bytes, rest);
      free_.emplace(rest.bytes, start + bytes);
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
    block->second.free = true;
    if (const auto next = std::next(block); next != blocks_.end() && mergeable(*block, *next)) {
      free_.erase({next->second.bytes, next->first});
      block->second.bytes += next->second.bytes;
      blocks_.erase(next);
    }
    if (block != blocks_.begin()) {
      if (const auto before = std::prev(block); before->second.free && mergeable(*before, *block)) {
        free_.erase({before->second.bytes, before->first});
        before->second.bytes += block->second.bytes;
        blocks_.erase(block);
        block = before;
      }
    }
    free_.emplace(block->second.bytes, block->first);
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
  struct Block {
    size_t bytes;
    char* segment;  // blocks merge only within the segment they were cut from
    bool free;
  };
  using Entry = std::map<char*, Block>::value_type;

  static bool mergeable(const Entry& a, const Entry& b) {
    return a.second.segment == b.second.segment && b.second.free;
  }

  void add_segment(size_t bytes) {
    const size_t wanted =
        bytes < kSmallRequest ? kSmallSegment : round_up(std::max(bytes, kLargeSegment), kSmallSegment);
    void* p = backend_.allocate(wanted);
    if (!p) {
      release_free_segments();
      p = backend_.allocate(wanted);
    }
    if (!p) {
      failure("out of memory on ", name_of(device_), ": asked for ", mib(wanted), " with ",
              mib(static_cast<size_t>(stats_.bytes_in_use)),
              " in use; a smaller batch or resolution, or gradient checkpointing, needs less");
    }
    auto* start = static_cast<char*>(p);
    segments_[start] = wanted;
    blocks_[start] = {wanted, start, true};
    free_.emplace(wanted, start);
    stats_.device_allocations++;
    stats_.bytes_reserved += static_cast<int64_t>(wanted);
  }

  void release_free_segments() {
    for (auto s = segments_.begin(); s != segments_.end();) {
      const auto [start, bytes] = *s;
      const Block& block = blocks_.at(start);
      if (!block.free || block.bytes != bytes) {
        ++s;
        continue;
      }
      free_.erase({bytes, start});
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
  std::map<char*, size_t> segments_;         // start -> bytes, as taken from the device
  std::map<char*, Block> blocks_;            // start -> block, in the order of addresses
  std::set<std::pair<size_t, char*>> free_;  // (bytes, start): the first that is large enough fits best
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

ScratchSpace::~ScratchSpace() {
  if (block_) allocator_of(device_).free(block_);
}

void* ScratchSpace::get(size_t bytes) {
  check(block_ == nullptr, "an operation asked its workspace for memory twice");
  block_ = allocator_of(device_).allocate(bytes);
  return block_;
}

}  // namespace imago
