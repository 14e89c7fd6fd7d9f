// A worker runs blocks, one after the other, on one OS thread: scheduler, barriers, warps and shared memory
// of the block at hand. Internal to the emulator.
#pragma once

#include <functional>
#include <memory>
#include <vector>

#include "lab/cuda_on_cpu/fiber.h"
#include "lab/cuda_on_cpu/mbarrier.h"
#include "lab/cuda_on_cpu/sanitizer_hooks.h"
#include "lab/cuda_on_cpu/shared_memory.h"

namespace imago::cuda_on_cpu::emu {

/// One kernel launch.
struct Launch {
  dim3 grid, block;
  size_t shared_bytes = 0;
  SourceLine where;
  std::function<void()> body;  // calls the kernel with its arguments
};

/// Fibers that wait for the same thing, first come first.
struct Waiters {
  Fiber *first = nullptr, *last = nullptr;
  void add(Fiber* f) {
    f->next = nullptr;
    (first ? last->next : first) = f;
    last = f;
  }
  void clear() { first = nullptr; }
};

struct Barrier {
  int arrived = 0, threads = 0, sum = 0, result = 0;
  unsigned generation = 0;
  const char* op = nullptr;
  SourceLine where;
  Waiters waiters;
  char tag[2];  // for TSan, one for each parity of the generation
};

/// The lanes of `mask` meet here; the last one to come combines what all brought.
struct Meeting {
  unsigned mask = 0, arrived = 0;
  unsigned generation = 0;
  const char* op = nullptr;
  SourceLine where;
  void (*combine)(Meeting&) = nullptr;
  const void* in[32];
  void* out[32];
  Waiters waiters;
  char tag[2];
};

/// Work of the hardware's own, at any time from now on: that with the lowest rank first.
struct AsyncWork {
  std::function<void()> work;
  uint32_t rank;
};

struct WgmmaState;  // wgmma.cpp

struct Warp {
  unsigned live = 0;  // lanes that exist and have not returned from the kernel
  std::vector<std::unique_ptr<Meeting>> meetings;
  std::unique_ptr<WgmmaState, void (*)(WgmmaState*)> wgmma{nullptr, nullptr};
};

class Worker {
 public:
  Worker();
  void run_block(const Launch& launch, uint3 index, uint64_t seed, bool shuffled);

  Fiber& current() { return *current_; }
  bool in_block() const { return current_ != nullptr; }
  Warp& warp(int index) { return warps_[index]; }
  int threads() const { return threads_; }
  const Launch& launch() const { return *launch_; }
  Barrier& barrier(int id) { return barriers_[id]; }

  /// The calling fiber waits in `op` until woken.
  void wait(Waiters& waiters, const char* op, SourceLine where);
  void wake(Waiters& waiters);
  void yield();
  /// A yield in a loop that waits for something: lets copies land now and then, and notices when
  /// nothing ever will.
  void poll(const char* op, SourceLine where);
  /// In shuffled runs: sometimes lets the others overtake at a point where CUDA promises no order.
  void jitter();
  /// Queues work that the hardware does by itself, at any later time.
  void start_async(std::function<void()> work);
  void meet(const char* op, unsigned mask, bool aligned, bool orders_memory, const void* in, void* out,
            void (*combine)(Meeting&), SourceLine where);
  uint32_t random();
  /// Once in `n` times in shuffled runs, else never.
  bool chance(uint32_t n) { return shuffled_ && random() % n == 0; }
  /// Whether the next group of products, for which nobody waits yet, is complete as well.
  bool completes_early() { return completes_early_ && chance(2); }
  /// Appends "threads 0-31 wait at ..." lines for the report.
  void print_threads() const;

  SharedMemory shared;
  MBarriers mbarriers;
  Waiters committed;  // fibers that wait for the other warps of their warpgroup to commit a group of wgmma

 private:
  static void fiber_main();
  void choose_schedule();
  void make_ready(Fiber* f);
  void release_held();
  void run_next();
  void land_one();
  void land_all_async();
  void finish(Meeting& m);
  void exit_thread();
  void reset(const Launch& launch, uint3 index);

  Context host_;
  Fiber* current_ = nullptr;
  std::vector<std::unique_ptr<Fiber>> fibers_;
  std::vector<Fiber*> ready_;  // a queue: first element at ready_head_
  size_t ready_head_ = 0;
  std::vector<Fiber*> held_;  // could run, and do so when nobody else can
  std::vector<AsyncWork> async_;
  std::vector<Warp> warps_;
  Barrier barriers_[16];
  const Launch* launch_ = nullptr;
  int threads_ = 0, live_ = 0;
  int idle_polls_ = 0;  // since anything else happened
  uint64_t random_state_ = 1;
  bool shuffled_ = false, completes_early_ = false;
  uint32_t landing_odds_ = 0;  // at a switch, that what is on its way lands: one in so many; 0: never
  int switches_left_ = 0;      // until the schedule changes its habits
  char start_tag_, end_tag_;
};

/// The worker of this OS thread; null outside of kernels.
extern constinit thread_local Worker* worker;

/// Runs all blocks of a grid (launch.cpp). Returns when they are done.
void run_grid(const Launch& launch);

}  // namespace imago::cuda_on_cpu::emu
