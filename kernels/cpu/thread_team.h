// The threads that share our own loops' work: awake while a network runs, asleep at all other times.
//
// A forward pass of one image is some 200 short parallel loops. Waking a thread that sleeps costs the caller
// a system call and the woken one tens of microseconds, a loop like that no more than as much. So a worker
// that has nothing to do looks out for the next loop for as long as the gap between two operations may take
// (kLookOut) before it goes to sleep.
//
// Nobody waits for a thread that does not come. Work is handed out item by item (parallel.h), so the caller
// can do all of it alone; workers join while the loop is open, and when no item is left the caller closes it
// and waits only for those inside. Beside a busy neighbour a worker that gets no time slice costs its help
// and nothing else, and in a child process after fork(), which has none of the threads, everything still
// runs.
#pragma once

#include <atomic>
#include <cstdint>
#include <exception>
#include <functional>
#include <thread>
#include <vector>

namespace imago::cpu {

/// The threads of one calling thread, which is their first. Not for several callers at a time.
class ThreadTeam {
 public:
  ThreadTeam() = default;
  ThreadTeam(const ThreadTeam&) = delete;
  ~ThreadTeam();

  /// Calls work(index) once in this thread, with index 0, and once in each of threads - 1 others that comes
  /// before this one is done. Rethrows what one of them threw first.
  void run(int threads, const std::function<void(int index)>& work);

 private:
  void grow(int workers);
  void serve(int index);
  bool join(uint32_t& served);
  void leave();
  void call(int index) noexcept;
  void close(uint32_t loop);

  // Which loop it is (counted from bit 13 on, and around), whether it is open (bit 12), workers inside
  // (below).
  static constexpr uint32_t kOpen = 1 << 12, kInside = kOpen - 1, kLoop = kOpen << 1;
  static constexpr int kMostWorkers = kInside;
  static uint32_t number(uint32_t state) { return state & ~(kOpen | kInside); }
  static bool is_new(uint32_t state, uint32_t served) { return (state & kOpen) && number(state) != served; }

  alignas(64) std::atomic<uint32_t> state_ = 0;
  alignas(64) std::atomic<uint32_t> left_ = 0;  // the last loop that workers left after it was closed
  // Of the open loop; written while there is none.
  alignas(64) const std::function<void(int)>* work_ = nullptr;
  int threads_ = 0;
  std::exception_ptr failure_;
  std::atomic<bool> failed_ = false, ended_ = false;

  std::vector<std::thread> workers_;
  int wanted_ = 0;   // workers, as many as were ever asked for
  int process_ = 0;  // whose threads they are
};

/// The team of the thread that calls this; its threads end with it.
ThreadTeam& team_of_this_thread();

}  // namespace imago::cpu
