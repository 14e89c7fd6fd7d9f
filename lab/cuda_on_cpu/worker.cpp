// The scheduler of one block, and the barriers and warp meetings that its threads wait in.
#include "lab/cuda_on_cpu/worker.h"

#include <algorithm>
#include <bit>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <utility>

#include "lab/cuda_on_cpu/async_copy.h"
#include "lab/cuda_on_cpu/device.h"
#include "lab/cuda_on_cpu/report.h"

namespace imago::cuda_on_cpu {

constinit thread_local uint3 threadIdx{}, blockIdx{};
constinit thread_local dim3 blockDim{}, gridDim{};

namespace emu {

constinit thread_local Worker* worker = nullptr;

Worker::Worker() {
  // Never grow: the old storage would be freed by another fiber than the one that made it.
  ready_.reserve(8192);
  held_.reserve(2048);
  if (__tsan_get_current_fiber) host_.tsan = __tsan_get_current_fiber();
}

uint32_t Worker::random() {
  random_state_ = random_state_ * 6364136223846793005ull + 1442695040888963407ull;
  return static_cast<uint32_t>(random_state_ >> 33);
}

// ---- running a block ----
void Worker::reset(const Launch& launch, uint3 index) {
  launch_ = &launch;
  threads_ = live_ = static_cast<int>(launch.block.x * launch.block.y * launch.block.z);
  blockIdx = index, blockDim = launch.block, gridDim = launch.grid;
  warps_.resize((threads_ + 31) / 32);
  for (size_t w = 0; w < warps_.size(); ++w) {
    const int lanes = threads_ - static_cast<int>(w) * 32;
    warps_[w].live = lanes >= 32 ? ~0u : (1u << lanes) - 1;
    warps_[w].wgmma.reset();
    for (auto& m : warps_[w].meetings) m->arrived = 0, m->waiters.clear();
  }
  for (Barrier& b : barriers_) b = Barrier{};
  async_.clear();
  committed.clear();
  mbarriers.clear();
  shared.begin(launch.shared_bytes);
}

void Worker::run_block(const Launch& launch, uint3 index, uint64_t seed, bool shuffled) {
  reset(launch, index);
  random_state_ = seed, shuffled_ = shuffled;
  ready_.clear(), ready_head_ = 0, idle_polls_ = 0;
  held_.clear();
  while (static_cast<int>(fibers_.size()) < threads_) {
    fibers_.push_back(std::make_unique<Fiber>());
    fibers_.back()->index = static_cast<int>(fibers_.size()) - 1;
  }
  choose_schedule();
  const unsigned bx = launch.block.x, by = launch.block.y;
  for (int i = 0; i < threads_; ++i) {
    Fiber& f = *fibers_[i];
    const unsigned u = static_cast<unsigned>(i);
    f.lane = i & 31, f.warp = i >> 5;
    f.thread = {u % bx, u / bx % by, u / (bx * by)};
    f.done = false, f.waits_for = nullptr;
    f.copies.clear(), f.stores.clear(), f.copy_group = f.store_group = 0, f.copies_issued = 0;
    prepare_fiber(f, fiber_main);
    make_ready(&f);
  }
  if (ready_.empty()) release_held();
  release(&start_tag_);
  current_ = ready_[ready_head_++];
  threadIdx = current_->thread;
  switch_context(host_, current_->context);
  acquire(&end_tag_);
  current_ = nullptr;
  if (!async_.empty()) land_all_async();
  shared.end();
}

void Worker::fiber_main() {
  enter_fiber();
  acquire(&worker->start_tag_);
  worker->launch_->body();
  release(&worker->end_tag_);
  worker->exit_thread();
}

void Worker::exit_thread() {
  finish_async_of_thread(*this);
  Fiber& f = *current_;
  f.done = true;
  --live_;
  Warp& w = warps_[f.warp];
  w.live &= ~(1u << f.lane);
  for (auto& m : w.meetings)
    if (m->arrived && m->arrived == (m->mask & w.live)) finish(*m);  // they waited for this lane only
  run_next();
  std::abort();  // a finished fiber is never entered again
}

// What a shuffled block is to suffer from for some time: copies that land at once, now and then, or only when
// nobody can run any more; seldom, products that are complete before anybody asks; and, more often than not,
// some threads that are left behind whenever others can run, here and there or in one warp.
void Worker::choose_schedule() {
  release_held();
  static constexpr uint32_t kOdds[4] = {0, 0, 8, 256};
  landing_odds_ = shuffled_ ? kOdds[random() % 4] : 0;
  completes_early_ = chance(8);
  const bool everywhere = chance(4), in_a_warp = !everywhere && chance(2);
  const int warp = in_a_warp ? static_cast<int>(random() % warps_.size()) : -1;
  for (int i = 0; i < threads_; ++i)
    fibers_[i]->held_back = everywhere ? random() % 16 == 0 : i / 32 == warp && random() % 2 == 0;
  switches_left_ = threads_ << random() % (in_a_warp ? 8 : 4);  // a warp may fall behind by a lap of a ring
}

void Worker::release_held() {
  const Quiet quiet;
  for (Fiber* f : held_) {
    ready_.push_back(f);
    std::swap(ready_.back(), ready_[ready_head_ + random() % (ready_.size() - ready_head_)]);
  }
  held_.clear();
}

void Worker::make_ready(Fiber* f) {
  const Quiet quiet;
  if (f->held_back) return held_.push_back(f);
  ready_.push_back(f);
  if (shuffled_) std::swap(ready_.back(), ready_[ready_head_ + random() % (ready_.size() - ready_head_)]);
}

void Worker::start_async(std::function<void()> work) {
  const Quiet quiet;
  async_.push_back({std::move(work), shuffled_ ? random() : 0});
}

void Worker::land_one() {
  const Quiet quiet;
  const auto next = std::min_element(async_.begin(), async_.end(),
                                     [](const AsyncWork& a, const AsyncWork& b) { return a.rank < b.rank; });
  const std::function<void()> work = std::move(next->work);
  async_.erase(next);
  idle_polls_ = 0;
  work();
}

void Worker::land_all_async() {
  while (!async_.empty()) land_one();
}

// Hands the CPU to the next fiber that can run. Asynchronous work lands when nobody can run, in shuffled runs
// also earlier; then it is the turn of those that were held back.
void Worker::run_next() {
  Fiber* from = current_;
  if (shuffled_ && --switches_left_ < 0) choose_schedule();
  const bool lands_early = landing_odds_ && random() % landing_odds_ == 0;
  while (!async_.empty() && (ready_head_ == ready_.size() || lands_early)) land_one();
  if (ready_head_ == ready_.size()) chance(8) ? choose_schedule() : release_held();
  if (ready_head_ == ready_.size()) {
    if (live_ == 0) return switch_context(from->context, host_, true);
    report_and_abort(
        "deadlock: no thread can run any more (a barrier not reached by all, a lost arrival, a wrong "
        "phase?)");
  }
  Fiber* to = ready_[ready_head_++];
  if (ready_head_ == ready_.size() || ready_head_ > 4096) {
    const Quiet quiet;  // TSan sees memmove, also from here
    ready_.erase(ready_.begin(), ready_.begin() + static_cast<std::ptrdiff_t>(ready_head_));
    ready_head_ = 0;
  }
  if (to == from) return;
  current_ = to;
  threadIdx = to->thread;
  switch_context(from->context, to->context, from->done);
}

void Worker::wait(Waiters& waiters, const char* op, SourceLine where) {
  current_->waits_for = op, current_->where = where;
  waiters.add(current_);
  run_next();
  current_->waits_for = nullptr;
}

void Worker::wake(Waiters& waiters) {
  idle_polls_ = 0;
  for (Fiber* f = waiters.first; f;) {
    Fiber* next = f->next;
    make_ready(f);
    f = next;
  }
  waiters.clear();
}

void Worker::yield() {
  make_ready(current_);
  run_next();
}

void Worker::poll(const char* op, SourceLine where) {
  current_->waits_for = op, current_->where = where;
  if (++idle_polls_ % (live_ + 1) == live_) async_.empty() ? release_held() : land_one();
  if (idle_polls_ > 1000 * live_)
    report_and_abort("deadlock: all threads that can run poll, in vain (a lost arrival, a wrong phase?)");
  yield();
  current_->waits_for = nullptr;
}

void Worker::jitter() {
  if (chance(4)) yield();
}

// ---- block barriers ----
namespace {

/// Waits until b.threads have arrived; returns the sum of what they brought. `waits` false: bar.arrive.
int arrive_at(Barrier& b, int value, bool waits, const char* op, SourceLine where) {
  const unsigned phase = b.generation & 1;
  release(&b.tag[phase]);
  b.sum += value;
  if (++b.arrived == b.threads) {
    b.result = b.sum;
    b.arrived = b.sum = 0;
    ++b.generation;
    worker->wake(b.waiters);
    worker->jitter();
  } else if (waits) {
    worker->wait(b.waiters, op, where);
  }
  if (waits) acquire(&b.tag[phase]);
  return b.result;
}

}  // namespace

int sync_threads(const char* op, int predicate, SourceLine where) {
  Barrier& b = worker->barrier(0);
  if (b.arrived == 0) {
    b.threads = worker->threads(), b.op = op, b.where = where;
  } else if (!(b.where == where)) {
    die(where, "%s: other threads of this block wait in %s at %s", op, b.op, brief(b.where).c_str());
  }
  return arrive_at(b, predicate != 0, true, op, where);
}

void named_barrier(int id, int threads, bool wait, SourceLine where) {
  const char* op = wait ? "bar.sync" : "bar.arrive";
  if (id < 0 || id > 15) die(where, "%s: barrier %d is not one of 0..15", op, id);
  if (threads <= 0 || threads % 32) die(where, "%s: %d threads is no multiple of 32", op, threads);
  Barrier& b = worker->barrier(id);
  if (b.arrived == 0) {
    b.threads = threads, b.op = op, b.where = where;
  } else if (b.threads != threads) {
    die(where, "%s %d: for %d threads, but %s gave %d", op, id, threads, brief(b.where).c_str(), b.threads);
  }
  arrive_at(b, 0, wait, op, where);
}

// ---- warps ----
void Worker::finish(Meeting& m) {
  if (m.combine) {
    const Quiet quiet;
    m.combine(m);
  }
  m.arrived = 0;
  ++m.generation;
  wake(m.waiters);
}

void Worker::meet(const char* op, unsigned mask, bool aligned, bool orders_memory, const void* in, void* out,
                  void (*combine)(Meeting&), SourceLine where) {
  Fiber& me = *current_;
  Warp& warp = warps_[me.warp];
  if (!(mask >> me.lane & 1u)) die(where, "%s: lane %d is not in its own mask %08x", op, me.lane, mask);
  const unsigned needed = mask & warp.live;
  if (aligned && needed != ~0u)
    die(where, "%s needs all 32 lanes of the warp; only %08x exist and have not returned", op, needed);
  Meeting* m = nullptr;
  for (auto& candidate : warp.meetings)
    if (candidate->mask == mask) m = candidate.get();
  if (!m) {
    warp.meetings.push_back(std::make_unique<Meeting>());
    m = warp.meetings.back().get();
    m->mask = mask;
  }
  if (m->arrived == 0) {
    m->op = op, m->where = where, m->combine = combine;
  } else if (m->combine != combine || same_op(m->op, op) == false || (aligned && !(m->where == where))) {
    die(where,
        "lanes of one warp meet in different operations: lane %d comes with %s, lanes %08x wait in %s at %s",
        me.lane, op, m->arrived, m->op, brief(m->where).c_str());
  }
  const unsigned phase = m->generation & 1;
  if (orders_memory) release(&m->tag[phase]);
  m->in[me.lane] = in, m->out[me.lane] = out;
  m->arrived |= 1u << me.lane;
  if (m->arrived == needed)
    finish(*m);
  else
    wait(m->waiters, op, where);
  if (orders_memory) acquire(&m->tag[phase]);
}

int lane() {
  return worker->current().lane;
}
void yield() {
  worker->yield();
}
uint64_t nanoseconds() {
  return static_cast<uint64_t>(std::chrono::steady_clock::now().time_since_epoch() /
                               std::chrono::nanoseconds(1));
}

void atomic_point() {
  thread_local unsigned calls = 0;
  if (!worker) return;
  if (++calls % 64 == 0)
    worker->yield();  // so that polling an atomic cannot starve the others
  else
    worker->jitter();
}

}  // namespace emu
}  // namespace imago::cuda_on_cpu
