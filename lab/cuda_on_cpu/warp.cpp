// Warp intrinsics. The last lane to come computes for all, in code that no sanitizer instruments: lanes
// exchange registers here, not memory.
#include <algorithm>

#include "lab/cuda_on_cpu/worker.h"

namespace imago::cuda_on_cpu::emu {
namespace {

struct Shuffle {
  const void* value;
  int bytes, source;
};

// Fixed sizes, so that these stay inlined moves.
void move(void* to, const void* from, int bytes) {
  auto* t = static_cast<unsigned char*>(to);
  auto* f = static_cast<const unsigned char*>(from);
  switch (bytes) {
    case 16: __builtin_memcpy(t, f, 16); break;
    case 8: __builtin_memcpy(t, f, 8); break;
    case 4: __builtin_memcpy(t, f, 4); break;
    default:
      for (int i = 0; i < bytes; ++i) reinterpret_cast<volatile unsigned char*>(t)[i] = f[i];
  }
}

// A lane that does not take part has no value to give: the result is undefined, so it is garbage here.
void combine_shuffle(Meeting& m) {
  for (int l = 0; l < 32; ++l) {
    if (!(m.arrived >> l & 1u)) continue;
    const auto& s = *static_cast<const Shuffle*>(m.in[l]);
    static constexpr unsigned char kGarbage[16] = {0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff,
                                                   0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff};
    const bool present = m.arrived >> s.source & 1u;
    move(m.out[l], present ? static_cast<const Shuffle*>(m.in[s.source])->value : kGarbage, s.bytes);
  }
}

struct Reduce {
  unsigned value;
  WarpReduction kind;
};

unsigned reduce(unsigned a, unsigned b, WarpReduction kind) {
  const int sa = static_cast<int>(a), sb = static_cast<int>(b);
  switch (kind) {
    case WarpReduction::kAdd: return a + b;
    case WarpReduction::kMin: return std::min(a, b);
    case WarpReduction::kMax: return std::max(a, b);
    case WarpReduction::kMinSigned: return static_cast<unsigned>(std::min(sa, sb));
    case WarpReduction::kMaxSigned: return static_cast<unsigned>(std::max(sa, sb));
    case WarpReduction::kAnd: return a & b;
    case WarpReduction::kOr: return a | b;
    case WarpReduction::kXor: return a ^ b;
  }
  return 0;
}

void combine_reduce(Meeting& m) {
  unsigned result = 0;
  bool first = true;
  for (int l = 0; l < 32; ++l) {
    if (!(m.arrived >> l & 1u)) continue;
    const auto& r = *static_cast<const Reduce*>(m.in[l]);
    result = first ? r.value : reduce(result, r.value, r.kind);
    first = false;
  }
  for (int l = 0; l < 32; ++l)
    if (m.arrived >> l & 1u) *static_cast<unsigned*>(m.out[l]) = result;
}

}  // namespace

void sync_warp(unsigned mask, SourceLine where) {
  worker->meet("__syncwarp", mask, false, true, nullptr, nullptr, nullptr, where);
}

void converge(const char* op, SourceLine where) {
  worker->meet(op, ~0u, true, false, nullptr, nullptr, nullptr, where);
}

void warp_shuffle(const char* op, unsigned mask, const void* value, void* result, int bytes, int source,
                  SourceLine where) {
  const Shuffle s{value, bytes, source};
  worker->meet(op, mask, false, false, &s, result, combine_shuffle, where);
}

unsigned warp_reduce(const char* op, unsigned mask, unsigned value, WarpReduction kind, SourceLine where) {
  const Reduce r{value, kind};
  unsigned result = 0;
  worker->meet(op, mask, false, false, &r, &result, combine_reduce, where);
  return result;
}

}  // namespace imago::cuda_on_cpu::emu
