// One fiber per CUDA thread: a stack, a saved stack pointer and what the thread has in flight.
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

#include "lab/cuda_on_cpu/emulator.h"
#include "lab/cuda_on_cpu/vector_types.h"

namespace imago::cuda_on_cpu::emu {

/// A place where execution can be left and entered again.
struct Context {
  void* stack_pointer = nullptr;
  const void* stack_bottom = nullptr;  // lowest address, for ASan
  size_t stack_size = 0;
  void* fake_stack = nullptr;  // ASan's
  void* tsan = nullptr;        // TSan's idea of this fiber
};

/// Leaves `from` and continues in `to`. `last` says that `from` is never entered again.
void switch_context(Context& from, Context& to, bool last = false);

/// A cp.async on its way.
struct AsyncCopy {
  void* dst;
  const void* src;
  int bytes, src_bytes, group;
  uint64_t number;  // among the thread's copies
  SourceLine where;
};

/// A bulk store on its way: shared memory is read when `.read` is waited for, global memory
/// written after that.
struct BulkStore {
  void (*land)(BulkStore& store);  // copies `staged` to global memory
  uint32_t shared;                 // address of the source
  uint32_t bytes;
  uint64_t checksum;  // of the source when issued
  std::vector<unsigned char> staged;
  bool read = false;
  int group;
  SourceLine where;
  alignas(64) unsigned char map[128];  // the TensorMap, or the destination address
  int coords[5], rank;
};

struct Fiber {
  Context context;
  uint3 thread{};
  int index = 0, lane = 0, warp = 0;
  bool held_back = false;  // in this block's schedule it runs when nobody else can
  bool done = false;
  const char* waits_for = nullptr;  // name of the operation that it waits in
  SourceLine where;
  Fiber* next = nullptr;  // in a list of waiters

  std::vector<AsyncCopy> copies;
  int copy_group = 0;
  uint64_t copies_issued = 0;
  std::vector<BulkStore> stores;
  int store_group = 0;
};

/// Gives the fiber a stack (once) and makes its next activation call `entry`, which must not return.
void prepare_fiber(Fiber& fiber, void (*entry)());

/// Must be the first thing that an entry function does.
void enter_fiber();

}  // namespace imago::cuda_on_cpu::emu
