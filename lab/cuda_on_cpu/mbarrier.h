// State of the mbarriers of a block, beside shared memory: the 8 bytes there hold a cookie, so that a stray
// store over a barrier is noticed.
#pragma once

#include <cstdint>
#include <unordered_map>

#include "kernels/cuda/source_line.h"

namespace imago::cuda_on_cpu::emu {

struct Fiber;
struct MBarrier;

class MBarriers {
 public:
  MBarriers();
  ~MBarriers();
  void clear();
  MBarrier& init(uint64_t* word, unsigned count, SourceLine where);
  void invalidate(uint64_t* word, const char* op, SourceLine where);
  MBarrier& find(uint64_t* word, const char* op, SourceLine where);
  void arrive(MBarrier& b, unsigned count, SourceLine where);
  void expect(MBarrier& b, int bytes, SourceLine where);  // negative: bytes that have landed
  void release_phase(MBarrier& b);  // for TSan: who waits for this phase comes after the caller
  void fence();                     // makes initializations visible to the async proxy
  /// Dies unless the initialization has been fenced.
  MBarrier& find_for_async(uint64_t* word, const char* op, SourceLine where);

 private:
  void complete_phase(MBarrier& b);
  std::unordered_map<uint64_t*, MBarrier*> barriers_;
};

}  // namespace imago::cuda_on_cpu::emu
