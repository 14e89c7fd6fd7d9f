// Counts bank conflicts and memory sectors, without a GPU.
//
// Kernels are compiled with -fsanitize=thread, which calls a function at every load and store, but linked
// with this file in place of the TSan runtime. It takes the n-th access of each lane of a warp at one place
// in the code for one warp request, and counts for it
//   shared memory: passes, as the 32 banks of 4 bytes serve it (32 lanes a pass, 16 when each moves
//   8 bytes, 8 for 16);
//   global memory: 32-byte sectors.
// The report, at exit, sets both against the least possible. Only block (0,0,0) of each launch is looked at.
#include <dlfcn.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <map>
#include <set>
#include <string>
#include <unordered_map>
#include <vector>

#include "lab/cuda_on_cpu/device.h"
#include "lab/cuda_on_cpu/memory.h"
#include "lab/cuda_on_cpu/report.h"
#include "lab/cuda_on_cpu/worker.h"

namespace imago::cuda_on_cpu::emu {
namespace {

/// Of one site in one lane and launch; what follows is more of the same.
constexpr size_t kMaxOccurrences = 4096;

struct Key {
  uintptr_t pc;      // where the compiler put the access, or 0:
  SourceLine where;  // the line of a copy that the compiler cannot see
  bool shared, write;
  int bytes;
  auto tie() const { return std::make_tuple(pc, where.file, where.line, shared, write, bytes); }
  bool operator<(const Key& o) const { return tie() < o.tie(); }
};

struct Totals {
  long requests = 0, cost = 0, ideal = 0;  // cost in passes or sectors
};

/// Addresses of one block, by site, warp and lane.
using Lanes = std::array<std::vector<uintptr_t>, 32>;
using Block = std::map<Key, std::map<int, Lanes>>;

struct Trace {
  Block block;
  std::map<Key, Totals> totals;
  const Launch* launch = nullptr;
  bool busy = false;  // our own accesses are not instrumented, but library code may be
  ~Trace();
  void fold();
};

Trace& trace() {
  static Trace t;
  return t;
}

// The passes that `n` lanes need for `bytes` each: distinct words in the fullest bank, summed over
// groups of lanes.
void count_shared(const std::vector<uintptr_t>& lanes, int bytes, Totals& t) {
  const size_t group = bytes <= 4 ? 32 : bytes == 8 ? 16 : 8;
  for (size_t begin = 0; begin < lanes.size(); begin += group) {
    std::array<std::set<uintptr_t>, 32> banks;
    for (size_t i = begin; i < std::min(lanes.size(), begin + group); ++i)
      for (uintptr_t word = lanes[i] / 4; word <= (lanes[i] + static_cast<uintptr_t>(bytes) - 1) / 4; ++word)
        banks[word % 32].insert(word);
    size_t passes = 1;
    for (const auto& words : banks) passes = std::max(passes, words.size());
    t.cost += static_cast<long>(passes);
    ++t.ideal;
  }
}

void count_global(const std::vector<uintptr_t>& lanes, int bytes, Totals& t) {
  std::set<uintptr_t> touched, sectors;
  for (uintptr_t a : lanes)
    for (uintptr_t b = a; b < a + static_cast<uintptr_t>(bytes); ++b)
      touched.insert(b), sectors.insert(b / 32);
  t.cost += static_cast<long>(sectors.size());
  t.ideal += static_cast<long>((touched.size() + 31) / 32);
}

void Trace::fold() {
  for (auto& [key, warps] : block) {
    Totals& t = totals[key];
    for (auto& [warp, lanes] : warps)
      for (size_t n = 0;; ++n) {
        std::vector<uintptr_t> request;
        for (const auto& lane : lanes)
          if (n < lane.size()) request.push_back(lane[n]);
        if (request.empty()) break;
        ++t.requests;
        key.shared ? count_shared(request, key.bytes, t) : count_global(request, key.bytes, t);
      }
  }
  block.clear();
}

void hit(const Key& key, const void* p) {
  Trace& t = trace();
  if (t.busy || !worker || !worker->in_block() || blockIdx.x || blockIdx.y || blockIdx.z) return;
  Key k = key;
  k.shared = worker->shared.in_arena(p);
  if (!k.shared && !in_device_memory(p, 1)) return;  // the stack, constants
  t.busy = true;
  if (t.launch != &worker->launch()) t.fold(), t.launch = &worker->launch();
  const Fiber& f = worker->current();
  auto& lane = t.block[k][f.warp][static_cast<size_t>(f.lane)];
  if (lane.size() < kMaxOccurrences) {
    const auto address = reinterpret_cast<uintptr_t>(p);
    lane.push_back(k.shared ? worker->shared.address(p) : address);
  }
  t.busy = false;
}

/// "conv2d.cu:88" of each code address: the innermost frame that is the kernel's own, not a wrapper's.
std::string source_of(uintptr_t pc) {
  Dl_info info;
  if (!dladdr(reinterpret_cast<void*>(pc), &info)) return "?";
  const uintptr_t offset = pc - 1 - reinterpret_cast<uintptr_t>(info.dli_fbase);
  char command[512];
  std::snprintf(command, sizeof command, "addr2line -i -e '%s' 0x%lx 2>/dev/null",
                std::strcmp(info.dli_fname, "") ? info.dli_fname : "/proc/self/exe", offset);
  std::string found = "?";
  if (FILE* pipe = popen(command, "r")) {
    char line[1024];
    while (std::fgets(line, sizeof line, pipe)) {
      line[std::strcspn(line, " \n")] = 0;
      const char* slash = std::strrchr(line, '/');
      found = slash ? slash + 1 : line;
      const bool wrapper = std::strstr(line, "/kernels/cuda/device/ptx") ||
                           (std::strstr(line, "/lab/cuda_on_cpu/") && !std::strstr(line, "/tests/lab/"));
      if (!wrapper) break;
    }
    pclose(pipe);
  }
  return found;
}

Trace::~Trace() {
  fold();
  busy = true;
  const char* path = std::getenv("IMAGO_EMU_TRACE");
  FILE* out = path ? std::fopen(path, "w") : stderr;
  if (!out) out = stderr;
  std::unordered_map<uintptr_t, std::string> names;
  std::map<std::pair<std::string, std::string>, Totals> lines;  // template instances of one line are one line
  for (const auto& [key, t] : totals) {
    std::string& name = names[key.pc];
    if (key.pc == 0)
      name = brief(key.where);
    else if (name.empty())
      name = source_of(key.pc);
    const std::string what = std::string(key.shared ? "shared " : "global ") +
                             (key.write ? "store " : "load  ") + std::to_string(key.bytes) + " B";
    Totals& sum = lines[{name, what}];
    sum.requests += t.requests, sum.cost += t.cost, sum.ideal += t.ideal;
  }
  std::fprintf(out, "%-28s %-18s %9s %9s %9s %6s\n", "source line", "access", "requests", "cost", "ideal",
               "ratio");
  for (const auto& [line, t] : lines) {
    const bool shared = line.second[0] == 's';
    const double ratio = static_cast<double>(t.cost) / static_cast<double>(std::max(t.ideal, 1l));
    const char* verdict = ratio < 1.2 ? "" : shared ? "  <- bank conflicts" : "  <- uncoalesced";
    std::fprintf(out, "%-28s %-18s %9ld %9ld %9ld %6.2f%s\n", line.first.c_str(), line.second.c_str(),
                 t.requests, t.cost, t.ideal, ratio, verdict);
  }
  if (out != stderr) std::fclose(out);
}

}  // namespace
}  // namespace imago::cuda_on_cpu::emu

using imago::cuda_on_cpu::emu::hit;

// ---- what the compiler's calls want ----
extern "C" {

void imago_trace_access(const void* p, size_t bytes, int write, const char* file, int line) {
  if (bytes) hit({0, {file, line}, false, write != 0, static_cast<int>(bytes)}, p);
}

#define PC reinterpret_cast<uintptr_t>(__builtin_return_address(0))
#define ACCESSES(n)                         \
  void __tsan_read##n(void* p) {            \
    hit({PC, {}, false, false, n}, p);      \
  }                                         \
  void __tsan_write##n(void* p) {           \
    hit({PC, {}, false, true, n}, p);       \
  }                                         \
  void __tsan_unaligned_read##n(void* p) {  \
    hit({PC, {}, false, false, n}, p);      \
  }                                         \
  void __tsan_unaligned_write##n(void* p) { \
    hit({PC, {}, false, true, n}, p);       \
  }
ACCESSES(1)
ACCESSES(2) ACCESSES(4) ACCESSES(8) ACCESSES(16) void __tsan_read_range(void* p, unsigned long n) {
  hit({PC, {}, false, false, static_cast<int>(n)}, p);
}
void __tsan_write_range(void* p, unsigned long n) {
  hit({PC, {}, false, true, static_cast<int>(n)}, p);
}
void __tsan_init() {}
void __tsan_func_entry(void*) {}
void __tsan_func_exit() {}
void __tsan_vptr_update(void**, void*) {}
void __tsan_vptr_read(void**) {}
void __tsan_atomic_thread_fence(int) {
  __atomic_thread_fence(__ATOMIC_SEQ_CST);
}
void __tsan_atomic_signal_fence(int) {}

#define UPDATE(bits, T, name)                               \
  T __tsan_atomic##bits##_##name(volatile T* p, T v, int) { \
    return __atomic_##name(p, v, __ATOMIC_SEQ_CST);         \
  }
#define COMPARE(bits, T, name)                                                                     \
  int __tsan_atomic##bits##_compare_exchange_##name(volatile T* p, T* expected, T v, int, int) {   \
    return __atomic_compare_exchange_n(p, expected, v, false, __ATOMIC_SEQ_CST, __ATOMIC_SEQ_CST); \
  }
#define ATOMICS(bits, T)                                      \
  T __tsan_atomic##bits##_load(const volatile T* p, int) {    \
    return __atomic_load_n(p, __ATOMIC_SEQ_CST);              \
  }                                                           \
  void __tsan_atomic##bits##_store(volatile T* p, T v, int) { \
    __atomic_store_n(p, v, __ATOMIC_SEQ_CST);                 \
  }                                                           \
  T __tsan_atomic##bits##_exchange(volatile T* p, T v, int) { \
    return __atomic_exchange_n(p, v, __ATOMIC_SEQ_CST);       \
  }                                                           \
  UPDATE(bits, T, fetch_add)                                  \
  UPDATE(bits, T, fetch_sub)                                  \
  UPDATE(bits, T, fetch_and)                                  \
  UPDATE(bits, T, fetch_or) UPDATE(bits, T, fetch_xor) COMPARE(bits, T, strong) COMPARE(bits, T, weak)
ATOMICS(8, char) ATOMICS(16, short) ATOMICS(32, int) ATOMICS(64, long)

}  // extern "C"
