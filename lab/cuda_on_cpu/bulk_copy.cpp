// TMA: tiled and plain bulk copies between global and shared memory, done by the async proxy.
#include <algorithm>
#include <cstring>

#include "lab/cuda_on_cpu/async_copy.h"
#include "lab/cuda_on_cpu/memory.h"
#include "lab/cuda_on_cpu/quiet.h"
#include "lab/cuda_on_cpu/toolkit/cuda.h"
#include "lab/cuda_on_cpu/worker.h"

namespace imago::cuda_on_cpu::emu {

namespace {

// What a box is made of: box[1] * ... * box[4] rows of `bytes` contiguous bytes.
struct Row {
  const TensorMap& map;
  int at[5];    // coordinates of the row's first element
  bool inside;  // in dimensions 1..4
  unsigned char* global() const {
    unsigned char* p = map.base;
    for (int d = 1; d < map.rank; ++d)
      p += static_cast<int64_t>(at[d]) * static_cast<int64_t>(map.strides[d - 1]);
    return p;
  }
};

uint32_t row_bytes(const TensorMap& m) {
  return uint32_t{m.box[0]} * m.element_bytes;
}
uint32_t box_bytes(const TensorMap& m) {
  return row_bytes(m) * m.box[1] * m.box[2] * m.box[3] * m.box[4];
}

size_t tensor_bytes(const TensorMap& m) {
  size_t n = size_t{m.extents[0]} * m.element_bytes;
  for (int d = 1; d < m.rank; ++d) n += (m.extents[d] - 1) * m.strides[d - 1];
  return n;
}

template <class F>
void for_each_row(const TensorMap& m, const int* coords, F f) {
  uint32_t offset = 0;
  for (int e = 0; e < m.box[4]; ++e)
    for (int d = 0; d < m.box[3]; ++d)
      for (int c = 0; c < m.box[2]; ++c)
        for (int b = 0; b < m.box[1]; ++b, offset += row_bytes(m)) {
          Row row{m, {coords[0], 0, 0, 0, 0}, true};
          const int step[5] = {0, b, c, d, e};
          for (int i = 1; i < m.rank; ++i) {
            row.at[i] = coords[i] + step[i];
            row.inside = row.inside && row.at[i] >= 0 && static_cast<uint32_t>(row.at[i]) < m.extents[i];
          }
          f(row, offset);
        }
}

// Bytes [first, last) of a row that lie inside the tensor.
void inner_range(const Row& row, uint32_t& first, uint32_t& last) {
  const int64_t begin = std::max<int64_t>(0, -int64_t{row.at[0]});
  const int64_t end = std::min<int64_t>(row.map.box[0], int64_t{row.map.extents[0]} - row.at[0]);
  first = static_cast<uint32_t>(begin * row.map.element_bytes);
  last = row.inside && end > begin ? static_cast<uint32_t>(end * row.map.element_bytes) : first;
}

void check_map(const char* op, const TensorMap* map, int rank, uint32_t shared, SourceLine where) {
  if (reinterpret_cast<uintptr_t>(map) % 64 || map->magic != TensorMap::kMagic)
    die(where, "%s: not a tensor map", op);
  if (map->rank != rank) die(where, "%s: %d coordinates for a tensor map of rank %d", op, rank, map->rank);
  if (shared % 128) die(where, "%s: shared address %u is not 128-byte aligned", op, shared);
  if (map->swizzle != CU_TENSOR_MAP_SWIZZLE_NONE && row_bytes(*map) != 16u << static_cast<int>(map->swizzle))
    die(where, "%s: a swizzled box with rows of %u bytes: the emulator wants the whole swizzle span", op,
        row_bytes(*map));
  if (!worker->shared.contains(worker->shared.at(shared), box_bytes(*map)))
    die(where, "%s: the box of %u bytes leaves its shared array", op, box_bytes(*map));
}

// 16-byte chunks of a row, at their swizzled addresses.
void write_row(uint32_t shared, const unsigned char* data, uint32_t bytes, CUtensorMapSwizzle swizzle) {
  for (uint32_t i = 0; i < bytes; i += 16)
    worker->shared.async_write(swizzled(shared + i, swizzle), data + i, 16);
}

uint64_t checksum(uint32_t shared, uint32_t bytes, const char* op, SourceLine where) {
  const unsigned char* p = worker->shared.async_read(shared, bytes, op, where);
  uint64_t h = 1;
  for (uint32_t i = 0; i + 8 <= bytes; i += 8) {
    uint64_t v;
    __builtin_memcpy(&v, p + i, 8);
    h = (h ^ v) * 0x9e3779b97f4a7c15ull;
    h ^= h >> 29;
  }
  return h;
}

void land_tensor_load(uint32_t shared, const TensorMap& map, const int* coords) {
  std::vector<unsigned char> data(row_bytes(map));
  for_each_row(map, coords, [&](const Row& row, uint32_t offset) {
    uint32_t first, last;
    inner_range(row, first, last);
    std::fill(data.begin(), data.end(), 0);
    if (last > first)
      quiet_copy(data.data() + first, row.global() + int64_t{row.at[0]} * map.element_bytes + first,
                 last - first);
    write_row(shared + offset, data.data(), row_bytes(map), map.swizzle);
  });
}

void land_tensor_store(BulkStore& s) {
  TensorMap map;
  __builtin_memcpy(&map, s.map, sizeof map);
  for_each_row(map, s.coords, [&](const Row& row, uint32_t offset) {
    uint32_t first, last;
    inner_range(row, first, last);
    unsigned char* to = row.global() + int64_t{row.at[0]} * map.element_bytes;
    for (uint32_t i = first; i < last; ++i) {
      const uint32_t from = swizzled(s.shared + offset + i, map.swizzle) - s.shared;
      to[i] = s.staged[from];
    }
  });
}

void land_bulk_store(BulkStore& s) {
  unsigned char* to;
  __builtin_memcpy(&to, s.map, sizeof to);
  quiet_copy(to, s.staged.data(), s.bytes);
}

void issue_store(BulkStore store, const char* op) {
  Fiber& f = worker->current();
  store.group = f.store_group;
  store.checksum = checksum(store.shared, store.bytes, op, store.where);
  if (under_tsan()) __tsan_read_range(worker->shared.at(store.shared), store.bytes);
  f.stores.push_back(std::move(store));
}

// The hardware reads the source now, at the latest.
void read_source(BulkStore& s) {
  if (s.read) return;
  if (checksum(s.shared, s.bytes, "bulk store", s.where) != s.checksum)
    die(s.where, "bulk store: its source in shared memory changed before cp.async.bulk.wait_group.read");
  const unsigned char* p = worker->shared.async_read(s.shared, s.bytes, "bulk store", s.where);
  s.staged.assign(p, p + s.bytes);
  s.read = true;
}

// TSan: the copy writes from now on, and whoever waits for the barrier's phase comes after it.
void announce_load(void* dst, uint32_t bytes) {
  if (under_tsan()) __tsan_write_range(dst, bytes);
}

}  // namespace

void tensor_load(void* dst, const TensorMap* map, uint64_t* barrier, const int* coords, int rank,
                 SourceLine where) {
  const char* op = "cp.async.bulk.tensor load";
  const uint32_t shared = worker->shared.address(dst);
  check_map(op, map, rank, shared, where);
  MBarrier* b = &worker->mbarriers.find_for_async(barrier, op, where);
  check_global(op, map->base, tensor_bytes(*map), where);
  struct Load {
    TensorMap map;
    int at[5] = {};
  };
  announce_load(dst, box_bytes(*map));
  const Quiet quiet;
  auto load = std::make_shared<Load>();
  load->map = *map;
  std::copy_n(coords, rank, load->at);
  worker->mbarriers.release_phase(*b);
  worker->shared.async_poison(shared, box_bytes(*map));
  worker->start_async([=] {
    land_tensor_load(shared, load->map, load->at);
    worker->mbarriers.expect(*b, -static_cast<int>(box_bytes(load->map)), where);
  });
}

void bulk_load(void* dst, const void* src, unsigned bytes, uint64_t* barrier, SourceLine where) {
  const char* op = "cp.async.bulk load";
  if ((reinterpret_cast<uintptr_t>(dst) | reinterpret_cast<uintptr_t>(src) | bytes) % 16)
    die(where, "%s: addresses and size (%u) must be multiples of 16", op, bytes);
  if (!worker->shared.contains(dst, bytes)) die(where, "%s: destination leaves its shared array", op);
  check_global(op, src, bytes, where);
  MBarrier* b = &worker->mbarriers.find_for_async(barrier, op, where);
  const uint32_t shared = worker->shared.address(dst);
  announce_load(dst, bytes);
  const Quiet quiet;
  worker->mbarriers.release_phase(*b);
  worker->shared.async_poison(shared, bytes);
  worker->start_async([=] {
    worker->shared.async_write(shared, src, bytes);
    worker->mbarriers.expect(*b, -static_cast<int>(bytes), where);
  });
}

void tensor_store(const TensorMap* map, const void* src, const int* coords, int rank, SourceLine where) {
  const char* op = "cp.async.bulk.tensor store";
  BulkStore s{};
  s.shared = worker->shared.address(src);
  check_map(op, map, rank, s.shared, where);
  check_global(op, map->base, tensor_bytes(*map), where);
  s.land = land_tensor_store, s.bytes = box_bytes(*map), s.rank = rank, s.where = where;
  __builtin_memcpy(s.map, map, sizeof s.map);
  std::copy_n(coords, rank, s.coords);
  issue_store(std::move(s), op);
}

void bulk_store(void* dst, const void* src, unsigned bytes, SourceLine where) {
  const char* op = "cp.async.bulk store";
  if ((reinterpret_cast<uintptr_t>(dst) | reinterpret_cast<uintptr_t>(src) | bytes) % 16)
    die(where, "%s: addresses and size (%u) must be multiples of 16", op, bytes);
  check_global(op, dst, bytes, where);
  BulkStore s{};
  s.shared = worker->shared.address(src);
  s.land = land_bulk_store, s.bytes = bytes, s.where = where;
  __builtin_memcpy(s.map, &dst, sizeof dst);
  issue_store(std::move(s), op);
}

void bulk_commit() {
  ++worker->current().store_group;
}

void bulk_wait(int pending, bool read_only) {
  Fiber& f = worker->current();
  size_t finished = 0;
  for (BulkStore& s : f.stores) {
    if (s.group >= f.store_group - pending) break;
    read_source(s);
    if (read_only) continue;
    s.land(s);
    ++finished;
  }
  f.stores.erase(f.stores.begin(), f.stores.begin() + static_cast<ptrdiff_t>(finished));
}

void finish_async_of_thread(Worker& w) {
  Fiber& f = w.current();
  for (BulkStore& s : f.stores) {
    if (!s.read)
      die(s.where,
          "the thread returned while this bulk store may still read shared memory (no "
          "cp.async.bulk.wait_group)");
    s.land(s);
  }
  f.stores.clear();
}

}  // namespace imago::cuda_on_cpu::emu
