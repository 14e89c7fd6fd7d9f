#include "kernels/cpu/thread_team.h"

#include <omp.h>
#include <sched.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <system_error>
#include <utility>

namespace imago::cpu {

namespace {

using Clock = std::chrono::steady_clock;

/// How long a thread spins before it sleeps: several times the serial work between two loops of a forward
/// pass, a small part of a time slice that a neighbour might want. Loops of 40 us a thread, both cores of a
/// Zen 1 at 2 GHz, 2026-11-25, us a round: ours and libgomp's spinning for milliseconds, for 1000 rounds, and
/// passive; 5 us apart 47, 48, 48, 71; 60 us apart 102, 103, 114, 154. Beside 18 processes that compiled,
/// medians of six: ours 550, libgomp's that spins 4300; two more rounds: ours 540 and 3800, libgomp's passive
/// 590 and 4400.
constexpr std::chrono::microseconds kLookOut(100);
/// A sleeping worker that is woken wakes as many more: the caller makes two calls, not one for every worker.
constexpr int kWakes = 2;

void pause() {
#if defined(__x86_64__)
  __builtin_ia32_pause();
#elif defined(__aarch64__)
  asm volatile("yield");
#endif
}

/// Spins until `done` or kLookOut has passed; true if done. One core at least is left to those who work: more
/// threads do not spin at the same time, whatever their number.
template <class Done>
bool spin_until(Done&& done) {
  static const int most = omp_get_num_procs() - 1;
  static std::atomic<int> spinning = 0;
  if (done()) return true;
  bool is_done = false;
  if (spinning.fetch_add(1, std::memory_order_relaxed) < most) {
    const Clock::time_point end = Clock::now() + kLookOut;
    do {
      for (int i = 0; i < 32 && !is_done; ++i) {
        pause();
        is_done = done();
      }
    } while (!is_done && Clock::now() < end);
  }
  spinning.fetch_sub(1, std::memory_order_relaxed);
  return is_done;
}

/// Where OpenMP's threads are bound to processors (OMP_PROC_BIND), ours are to the same ones; a new thread
/// would else share those of its caller.
void bind_as_openmp_would(int index) {
  const int places = omp_get_num_places();
  if (omp_get_proc_bind() == omp_proc_bind_false || places == 0) return;
  const int place = index % places;
  std::vector<int> processors(static_cast<size_t>(omp_get_place_num_procs(place)));
  omp_get_place_proc_ids(place, processors.data());
  cpu_set_t set;
  CPU_ZERO(&set);
  for (const int p : processors) CPU_SET(p, &set);
  sched_setaffinity(0, sizeof set, &set);  // a wish: unbound threads are right, too
}

}  // namespace

ThreadTeam::~ThreadTeam() {
  if (process_ != getpid()) {  // after fork(): the threads are the parent's
    for (std::thread& worker : workers_) worker.detach();
    return;
  }
  ended_ = true;
  state_ = (number(state_) + kLoop) | kOpen;
  state_.notify_all();
  for (std::thread& worker : workers_) worker.join();
}

void ThreadTeam::run(int threads, const std::function<void(int)>& work) {
  grow(std::min(threads - 1, kMostWorkers));
  work_ = &work;
  threads_ = threads;
  failed_.store(false, std::memory_order_relaxed);
  const uint32_t loop = number(state_.load(std::memory_order_relaxed)) + kLoop;
  left_.store(loop - kLoop, std::memory_order_relaxed);  // not this one: numbers come around
  state_ = loop | kOpen;
  for (int i = 0; i < std::min(threads - 1, kWakes); ++i) state_.notify_one();
  call(0);
  close(loop);
  if (failed_.load(std::memory_order_relaxed)) std::rethrow_exception(std::exchange(failure_, nullptr));
}

/// Nobody joins any more; waits for those inside.
void ThreadTeam::close(uint32_t loop) {
  if ((state_.fetch_and(~kOpen) & kInside) == 0) return;
  if (spin_until([&] { return left_.load() == loop; })) return;
  for (uint32_t left; (left = left_) != loop;) left_.wait(left);
}

void ThreadTeam::grow(int workers) {
  if (workers <= wanted_) return;
  wanted_ = workers;
  process_ = getpid();
  try {
    while (static_cast<int>(workers_.size()) < workers) {
      workers_.emplace_back(&ThreadTeam::serve, this, static_cast<int>(workers_.size()) + 1);
    }
  } catch (const std::system_error&) {
    // No thread to spare: those that there are do the work.
  }
}

void ThreadTeam::serve(int index) {
  bind_as_openmp_would(index);
  uint32_t served = 0;  // the loop it joined last
  for (;;) {
    bool slept = false;
    if (!spin_until([&] { return is_new(state_.load(), served); })) {
      for (uint32_t state; !is_new(state = state_, served);) state_.wait(state), slept = true;
    }
    if (ended_) return;
    if (!join(served)) continue;
    const int missing = threads_ - 1 - static_cast<int>(state_ & kInside);
    for (int i = 0; slept && i < std::min(missing, kWakes); ++i) state_.notify_one();
    if (index < threads_) call(index);
    leave();
  }
}

/// False if the loop was closed before.
bool ThreadTeam::join(uint32_t& served) {
  uint32_t state = state_;
  while (is_new(state, served)) {
    if (state_.compare_exchange_weak(state, state + 1)) {
      served = number(state);
      return true;
    }
  }
  return false;
}

void ThreadTeam::leave() {
  const uint32_t before = state_.fetch_sub(1);
  if ((before & kOpen) || (before & kInside) != 1) return;
  left_ = number(before);
  left_.notify_one();
}

void ThreadTeam::call(int index) noexcept {
  try {
    (*work_)(index);
  } catch (...) {
    if (!failed_.exchange(true)) failure_ = std::current_exception();
  }
}

ThreadTeam& team_of_this_thread() {
  thread_local ThreadTeam team;
  return team;
}

}  // namespace imago::cpu
