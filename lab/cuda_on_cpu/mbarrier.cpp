// mbarrier: a phase ends when all arrivals have come and as many bytes have landed as were announced.
#include "lab/cuda_on_cpu/mbarrier.h"

#include <cinttypes>

#include "lab/cuda_on_cpu/report.h"
#include "lab/cuda_on_cpu/worker.h"

namespace imago::cuda_on_cpu::emu {

struct MBarrier {
  unsigned count = 0;    // arrivals a phase
  unsigned pending = 0;  // still to come in this phase
  int bytes = 0;         // announced and not landed; negative: landed before being announced
  unsigned phase = 0;
  bool fenced = false;  // initialization visible to the async proxy
  SourceLine where;     // of the initialization
  Waiters waiters;
  char tag[2];  // for TSan, by parity of the phase
};

namespace {

constexpr uint64_t kCookie = 0xb4551e5b4551e500ull;
constexpr int kMaxBytes = (1 << 20) - 1;  // of the hardware's counter

}  // namespace

MBarriers::MBarriers() = default;
MBarriers::~MBarriers() {
  clear();
}

void MBarriers::clear() {
  for (auto& [word, b] : barriers_) delete b;
  barriers_.clear();
}

MBarrier& MBarriers::init(uint64_t* word, unsigned count, SourceLine where) {
  if (reinterpret_cast<uintptr_t>(word) % 8 || !worker->shared.contains(word, 8))
    die(where, "mbarrier.init: %p is not 8 aligned bytes of shared memory", static_cast<void*>(word));
  if (count == 0 || count > static_cast<unsigned>(kMaxBytes))
    die(where, "mbarrier.init: %u arrivals a phase", count);
  MBarrier*& b = barriers_[word];
  if (b) die(where, "mbarrier.init: already initialized at %s and not invalidated", brief(b->where).c_str());
  b = new MBarrier;
  b->count = b->pending = count, b->where = where;
  *word = kCookie;
  return *b;
}

void MBarriers::invalidate(uint64_t* word, const char* op, SourceLine where) {
  MBarrier& b = find(word, op, where);
  if (b.waiters.first) die(where, "%s: threads wait on this barrier", op);
  delete &b;
  barriers_.erase(word);
}

MBarrier& MBarriers::find(uint64_t* word, const char* op, SourceLine where) {
  const auto it = barriers_.find(word);
  if (it == barriers_.end())
    die(where, "%s: no mbarrier was initialized at %p", op, static_cast<void*>(word));
  if (*word != kCookie)
    die(where, "%s: the mbarrier (initialized at %s) has been overwritten with %016" PRIx64, op,
        brief(it->second->where).c_str(), *word);
  return *it->second;
}

MBarrier& MBarriers::find_for_async(uint64_t* word, const char* op, SourceLine where) {
  MBarrier& b = find(word, op, where);
  if (!b.fenced)
    die(where, "%s: no fence.mbarrier_init or fence.proxy.async since the mbarrier was initialized at %s", op,
        brief(b.where).c_str());
  return b;
}

void MBarriers::release_phase(MBarrier& b) {
  release(&b.tag[b.phase & 1]);
}

void MBarriers::fence() {
  for (auto& [word, b] : barriers_) b->fenced = true;
}

void MBarriers::complete_phase(MBarrier& b) {
  if (b.pending || b.bytes) return;
  b.pending = b.count;
  ++b.phase;
  worker->wake(b.waiters);
}

void MBarriers::arrive(MBarrier& b, unsigned count, SourceLine where) {
  if (count > b.pending)
    die(where, "mbarrier.arrive: %u arrivals, but this phase expects only %u more of %u", count, b.pending,
        b.count);
  release(&b.tag[b.phase & 1]);
  b.pending -= count;
  complete_phase(b);
}

void MBarriers::expect(MBarrier& b, int bytes, SourceLine where) {
  b.bytes += bytes;
  if (b.bytes > kMaxBytes || b.bytes < -kMaxBytes)
    die(where, "mbarrier: %d pending bytes overflow the counter", b.bytes);
  if (bytes > 0)
    release(&b.tag[b.phase & 1]);
  else
    complete_phase(b);
}

// ---- called by the kernels ----
void mbarrier_init(uint64_t* barrier, unsigned count, SourceLine where) {
  worker->mbarriers.init(barrier, count, where);
}
void mbarrier_invalidate(uint64_t* barrier, SourceLine where) {
  worker->mbarriers.invalidate(barrier, "mbarrier.inval", where);
}

void mbarrier_expect(uint64_t* barrier, unsigned bytes, SourceLine where) {
  MBarriers& all = worker->mbarriers;
  all.expect(all.find(barrier, "mbarrier.expect_tx", where), static_cast<int>(bytes), where);
}

void mbarrier_arrive(uint64_t* barrier, unsigned count, SourceLine where) {
  MBarriers& all = worker->mbarriers;
  all.arrive(all.find(barrier, "mbarrier.arrive", where), count, where);
  worker->jitter();
}

bool mbarrier_test(uint64_t* barrier, unsigned parity, SourceLine where) {
  MBarrier& b = worker->mbarriers.find(barrier, "mbarrier.test_wait", where);
  if ((b.phase & 1) == parity) {
    worker->poll("mbarrier.test_wait", where);
    if ((b.phase & 1) == parity) return false;
  }
  acquire(&b.tag[parity]);
  return true;
}

void mbarrier_wait(uint64_t* barrier, unsigned parity, SourceLine where) {
  if (parity > 1) die(where, "mbarrier.try_wait: parity %u", parity);
  MBarrier& b = worker->mbarriers.find(barrier, "mbarrier.try_wait", where);
  while ((b.phase & 1) == parity) worker->wait(b.waiters, "mbarrier.try_wait", where);
  acquire(&b.tag[parity]);
}

void fence_mbarrier_init() {
  worker->mbarriers.fence();
}

}  // namespace imago::cuda_on_cpu::emu
