// wgmma: the asynchronous matrix product of a warpgroup, done warp by warp. Operands are read when the
// product is waited for, accumulators are NaN until then, and an operand that changed in between is reported.
// In shuffled runs a wait sometimes finds later groups complete as well.
#include <algorithm>
#include <list>

#include "lab/cuda_on_cpu/report.h"
#include "lab/cuda_on_cpu/toolkit/cuda.h"
#include "lab/cuda_on_cpu/worker.h"

namespace imago::cuda_on_cpu::emu {
namespace {

constexpr int kRows = 16, kDepth = 16;  // a warp's share of the 64 rows; elements of K in one instruction

/// An operand in shared memory, as a 64-bit matrix descriptor describes it.
struct Descriptor {
  uint32_t start, leading, stride;  // bytes
  CUtensorMapSwizzle swizzle;
  bool mn_major;

  Descriptor(uint64_t bits, bool mn_major, SourceLine where) : mn_major(mn_major) {
    start = static_cast<uint32_t>(bits & 0x3fff) << 4;
    leading = static_cast<uint32_t>(bits >> 16 & 0x3fff) << 4;
    stride = static_cast<uint32_t>(bits >> 32 & 0x3fff) << 4;
    static constexpr CUtensorMapSwizzle kModes[4] = {CU_TENSOR_MAP_SWIZZLE_NONE, CU_TENSOR_MAP_SWIZZLE_128B,
                                                     CU_TENSOR_MAP_SWIZZLE_64B, CU_TENSOR_MAP_SWIZZLE_32B};
    swizzle = kModes[bits >> 62];
    if (bits >> 49 & 7) die(where, "wgmma: the emulator wants base offset 0 in descriptors");
    const uint32_t phase = swizzle == CU_TENSOR_MAP_SWIZZLE_NONE ? 0 : (8u * span() - 1) & ~(span() - 1);
    if (start & phase & 0x380)
      die(where, "wgmma: start address %u is inside a swizzle pattern (row %u of 8)", start,
          (start & phase) / span());
  }
  uint32_t span() const { return 16u << static_cast<int>(swizzle); }  // bytes of a row of the pattern

  /// Address of the 16-byte chunk that holds elements (mn, k..k+7), or (mn..mn+7, k) when MN-major.
  uint32_t chunk(int mn, int k) const {
    const uint32_t m = static_cast<uint32_t>(mn), kk = static_cast<uint32_t>(k);
    uint32_t offset;
    if (!mn_major) {
      offset = m / 8 * stride + m % 8 * span();
      offset += swizzle == CU_TENSOR_MAP_SWIZZLE_NONE ? kk / 8 * leading : kk * 2;
    } else if (swizzle == CU_TENSOR_MAP_SWIZZLE_NONE) {
      offset = m / 8 * stride + kk / 8 * leading + kk % 8 * 16;
    } else {
      const uint32_t row = span() / 2;  // elements in a row
      offset = m / row * leading + m % row * 2 + kk / 8 * stride + kk % 8 * span();
    }
    return swizzled(start + offset, swizzle);
  }
};

/// The accumulators of one warp while products into them are in flight.
struct Tile {
  int n;
  float* d[32];
  std::vector<float> sum;  // [16][n]
  int in_flight = 0;
};

struct Product {
  Tile* tile;
  uint64_t a, b;
  bool a_in_registers, a_mn_major, b_mn_major, add;
  uint32_t fragment[32][4];
  int row;  // of A: 16 * warp in the warpgroup
  uint64_t checksum;
  int group;
  bool done;  // the sum is complete, the registers are still to be written
  SourceLine where;
};

struct Operands {
  float a[kRows][kDepth];
  float b[kDepth][256];
  uint64_t checksum;
};

float bf16(uint32_t bits) {
  const uint32_t u = bits << 16;
  float f;
  __builtin_memcpy(&f, &u, 4);
  return f;
}

// Reads rows [first, first + count) of an operand; put(mn, k, value) gets each element.
template <class Put>
void read_operand(const Descriptor& desc, int first, int count, uint64_t& hash, SourceLine where, Put put) {
  const int mn_step = desc.mn_major ? 8 : 1, k_step = desc.mn_major ? 1 : 8;
  for (int mn = first; mn < first + count; mn += mn_step)
    for (int k = 0; k < kDepth; k += k_step) {
      const unsigned char* p = worker->shared.async_read(desc.chunk(mn, k), 16, "wgmma", where);
      uint64_t words[2];
      __builtin_memcpy(words, p, 16);
      hash = ((hash ^ words[0]) * 0x9e3779b97f4a7c15ull ^ words[1]) * 0xff51afd7ed558ccdull;
      hash ^= hash >> 31;
      uint16_t e[8];
      __builtin_memcpy(e, p, 16);
      for (int i = 0; i < 8; ++i)
        put(mn - first + (desc.mn_major ? i : 0), k + (desc.mn_major ? 0 : i), bf16(e[i]));
    }
}

void read_operands(const Product& p, Operands& o) {
  o.checksum = 1;
  if (p.a_in_registers) {
    for (int l = 0; l < 32; ++l)
      for (int q = 0; q < 4; ++q)
        for (int h = 0; h < 2; ++h)
          o.a[l / 4 + 8 * (q % 2)][2 * (l % 4) + 8 * (q / 2) + h] = bf16(p.fragment[l][q] >> 16 * h & 0xffff);
  } else {
    read_operand(Descriptor(p.a, p.a_mn_major, p.where), p.row, kRows, o.checksum, p.where,
                 [&](int m, int k, float v) { o.a[m][k] = v; });
  }
  read_operand(Descriptor(p.b, p.b_mn_major, p.where), 0, p.tile->n, o.checksum, p.where,
               [&](int n, int k, float v) { o.b[k][n] = v; });
}

void multiply(const Operands& o, Tile& tile, bool add) {
  if (!add) std::fill(tile.sum.begin(), tile.sum.end(), 0.0f);
  for (int r = 0; r < kRows; ++r) {
    float* sum = &tile.sum[static_cast<size_t>(r * tile.n)];
    for (int k = 0; k < kDepth; ++k) {
      const float a = o.a[r][k];
      for (int n = 0; n < tile.n; ++n) sum[n] += a * o.b[k][n];
    }
  }
}

// Lane l holds D(l/4 + 8 q, 8 j + 2 (l%4) + h) in register 4 j + 2 q + h.
template <class F>
void for_each_register(int n, F f) {
  for (int l = 0; l < 32; ++l)
    for (int j = 0; j < n / 8; ++j)
      for (int q = 0; q < 2; ++q)
        for (int h = 0; h < 2; ++h)
          f(l, 4 * j + 2 * q + h, static_cast<size_t>((l / 4 + 8 * q) * n + 8 * j + 2 * (l % 4) + h));
}

struct Issue {
  int n;
  float* d;
  const uint32_t* fragment;
  uint64_t a, b;
  bool add, a_mn_major, b_mn_major;
  bool same_as(const Issue& o) const {
    return n == o.n && a == o.a && b == o.b && add == o.add && a_mn_major == o.a_mn_major &&
           b_mn_major == o.b_mn_major;
  }
};

}  // namespace

struct WgmmaState {
  std::list<Tile> tiles;
  std::list<Product> products;
  int group = 0;
  bool fenced = false;
  Operands scratch;

  Tile& tile_for(const Meeting& m, const Issue& issue) {
    for (Tile& t : tiles)
      if (t.d[0] == issue.d) {
        if (t.n != issue.n)
          die(m.where, "wgmma: n=%d into accumulators of a product with n=%d in flight", issue.n, t.n);
        return t;
      }
    if (!fenced)
      die(m.where, "wgmma: no wgmma.fence between earlier use of the accumulators and this product");
    tiles.push_back({issue.n, {}, std::vector<float>(static_cast<size_t>(kRows * issue.n)), 0});
    Tile& t = tiles.back();
    for (int l = 0; l < 32; ++l) t.d[l] = static_cast<const Issue*>(m.in[l])->d;
    for_each_register(t.n, [&](int l, int r, size_t at) {
      t.sum[at] = t.d[l][r];
      t.d[l][r] = __builtin_nanf("");
    });
    return t;
  }
  void issue(Meeting& m) {
    const Issue& first = *static_cast<const Issue*>(m.in[0]);
    for (int l = 1; l < 32; ++l)
      if (!first.same_as(*static_cast<const Issue*>(m.in[l])))
        die(m.where, "wgmma: operands differ between lanes");
    Product p{};
    p.tile = &tile_for(m, first);
    p.a = first.a, p.b = first.b, p.add = first.add;
    p.a_in_registers = first.fragment != nullptr, p.a_mn_major = first.a_mn_major,
    p.b_mn_major = first.b_mn_major;
    if (first.fragment)
      for (int l = 0; l < 32; ++l)
        std::copy_n(static_cast<const Issue*>(m.in[l])->fragment, 4, p.fragment[l]);
    p.row = kRows * (worker->current().warp % 4);
    p.group = group, p.where = m.where;
    read_operands(p, scratch);
    p.checksum = scratch.checksum;
    ++p.tile->in_flight;
    products.push_back(p);
  }
  /// Multiplies what belongs to groups before `target`.
  void multiply_until(int target, Operands& scratch) {
    for (Product& p : products) {
      if (p.group >= target) return;
      if (p.done) continue;
      read_operands(p, scratch);
      if (scratch.checksum != p.checksum)
        die(p.where,
            "wgmma: an operand in shared memory changed while the product was in flight (released too "
            "early?)");
      multiply(scratch, *p.tile, p.add);
      p.done = true;
    }
  }
  /// Gives the accumulators that no later product is going to change back to the lanes.
  void write_registers_until(int target) {
    while (!products.empty() && products.front().group < target) {
      Tile* tile = products.front().tile;
      if (--tile->in_flight == 0) {
        for_each_register(tile->n, [&](int l, int r, size_t at) { tile->d[l][r] = tile->sum[at]; });
        tiles.remove_if([&](const Tile& t) { return &t == tile; });
        fenced = false;
      }
      products.pop_front();
    }
  }
};

namespace {

WgmmaState& state_of(int warp) {
  auto& s = worker->warp(warp).wgmma;
  if (!s) s = {new WgmmaState, [](WgmmaState* p) { delete p; }};
  return *s;
}
WgmmaState& state() {
  return state_of(worker->current().warp);
}

/// All four warps have committed the groups before `target`.
bool committed_by_all(int target) {
  const int first = worker->current().warp / 4 * 4;
  for (int w = first; w < first + 4; ++w)
    if (state_of(w).group < target) return false;
  return true;
}

}  // namespace

void wgmma(int n, float* d, const uint32_t* a_fragment, uint64_t a, uint64_t b, bool add, bool a_mn_major,
           bool b_mn_major, SourceLine where) {
  const Issue issue{n, d, a_fragment, a, b, add, a_mn_major, b_mn_major};
  worker->meet(
      "wgmma", ~0u, true, false, &issue, nullptr, [](Meeting& m) { state().issue(m); }, where);
}

void wgmma_fence(SourceLine where) {
  worker->meet(
      "wgmma.fence", ~0u, true, false, nullptr, nullptr, [](Meeting&) { state().fenced = true; }, where);
}

void wgmma_commit(SourceLine where) {
  auto commit = [](Meeting&) {
    ++state().group;
    worker->wake(worker->committed);
  };
  worker->meet("wgmma.commit_group", ~0u, true, false, nullptr, nullptr, commit, where);
}

// A product is one operation of the warpgroup: when it is complete for one warp, none of the four reads its
// operands any more. Kernels rely on that, a single thread hands the stage back for all.
void wgmma_wait(int pending, SourceLine where) {
  if ((worker->current().warp / 4 + 1) * 128 > worker->threads())
    die(where, "wgmma: this warpgroup has less than four warps");
  const int target = state().group - pending;
  while (!committed_by_all(target)) worker->wait(worker->committed, "wgmma.wait_group", where);
  auto finish = [](Meeting& m) {
    int until = *static_cast<const int*>(m.in[0]);
    const int first = worker->current().warp / 4 * 4;
    while (worker->completes_early() && committed_by_all(until + 1)) ++until;
    for (int w = first; w < first + 4; ++w) state_of(w).multiply_until(until, state().scratch);
    state().write_registers_until(until);
  };
  worker->meet("wgmma.wait_group", ~0u, true, true, &target, nullptr, finish, where);
}

}  // namespace imago::cuda_on_cpu::emu
