// cp.async: 4, 8 or 16 bytes from global to shared memory. The destination is garbage from the moment the
// copy is issued; the data lands when the issuing thread waits for its group. In shuffled runs some copies
// land at an earlier wait, and those of one wait in any order: nothing orders the writes of two copies but a
// wait.
#include <algorithm>
#include <iterator>

#include "lab/cuda_on_cpu/memory.h"
#include "lab/cuda_on_cpu/quiet.h"
#include "lab/cuda_on_cpu/worker.h"

namespace imago::cuda_on_cpu::emu {
namespace {

// TSan learns of both accesses where the copy is issued: from then on it may happen at any time.
void announce(const AsyncCopy& c) {
  if (under_tsan()) __tsan_write_range(c.dst, static_cast<unsigned long>(c.bytes));
  if (under_tsan() && c.src_bytes)
    __tsan_read_range(const_cast<void*>(c.src), static_cast<unsigned long>(c.src_bytes));
}

void land(const AsyncCopy& c) {
  unsigned char data[16] = {};
  quiet_copy(data, c.src, static_cast<size_t>(c.src_bytes));
  quiet_copy(c.dst, data, static_cast<size_t>(c.bytes));
}

// Each copy lands once, whoever waits for it.
template <class Condition>
void land_those(Fiber& f, Condition must) {
  const Quiet quiet;
  const auto rest = std::stable_partition(f.copies.begin(), f.copies.end(),
                                          [&](const AsyncCopy& c) { return must(c) || worker->chance(16); });
  for (auto left = rest - f.copies.begin(); left > 0; --left) {
    const auto next = worker->chance(2) ? worker->random() % static_cast<uint32_t>(left) : 0;
    const auto c = f.copies.begin() + static_cast<std::ptrdiff_t>(next);
    land(*c);
    f.copies.erase(c);
  }
}

}  // namespace

void copy_async(void* dst, const void* src, int bytes, int src_bytes, SourceLine where) {
  const uintptr_t mask = static_cast<uintptr_t>(bytes) - 1;
  if (src_bytes < 0 || src_bytes > bytes)
    die(where, "cp.async: %d source bytes for a copy of %d", src_bytes, bytes);
  if (reinterpret_cast<uintptr_t>(dst) & mask)
    die(where, "cp.async: destination %p not %d-byte aligned", dst, bytes);
  if (src_bytes && reinterpret_cast<uintptr_t>(src) & mask)
    die(where, "cp.async: source %p not %d-byte aligned", src, bytes);
  if (!worker->shared.contains(dst, static_cast<size_t>(bytes)))
    die(where, "cp.async: destination %p is outside of every shared array", dst);
  if (src_bytes) check_global("cp.async", src, static_cast<size_t>(src_bytes), where);
  if (imago_trace_access) {
    imago_trace_access(src, static_cast<size_t>(src_bytes), 0, where.file, where.line);
    imago_trace_access(dst, static_cast<size_t>(bytes), 1, where.file, where.line);
  }
  Fiber& f = worker->current();
  f.copies.push_back({dst, src, bytes, src_bytes, f.copy_group, f.copies_issued++, where});
  announce(f.copies.back());
  quiet_fill(dst, 0xff, static_cast<size_t>(bytes));
}

void copy_async_commit() {
  ++worker->current().copy_group;
}

void copy_async_wait(int pending) {
  Fiber& f = worker->current();
  land_those(f, [&](const AsyncCopy& c) { return c.group < f.copy_group - pending; });
}

void copy_async_arrive(uint64_t* barrier, SourceLine where) {
  const Quiet quiet;
  MBarrier* b = &worker->mbarriers.find(barrier, "cp.async.mbarrier.arrive", where);
  Fiber* f = &worker->current();
  worker->mbarriers.release_phase(*b);
  worker->start_async([b, f, where, prior = f->copies_issued] {
    land_those(*f, [&](const AsyncCopy& c) { return c.number < prior; });
    worker->mbarriers.arrive(*b, 1, where);
  });
}

}  // namespace imago::cuda_on_cpu::emu
