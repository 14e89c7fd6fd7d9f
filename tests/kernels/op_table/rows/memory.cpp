// Memory operations, and what a backend says about itself: rows with a test of their own.
#include <gtest/gtest.h>

#include <algorithm>
#include <fstream>
#include <memory>
#include <numeric>

#include "tests/kernels/op_table/op_table.h"

namespace imago::test {

namespace {

void check_name(const BackendUnderTest& entry) {
  const std::string name = entry.backend->name();
  EXPECT_FALSE(name.empty());
  EXPECT_TRUE(
      std::all_of(name.begin(), name.end(), [](unsigned char c) { return std::isalnum(c) || c == '_'; }));
}

void check_supports(const BackendUnderTest& entry) {
  for (DType t : entry.types) EXPECT_TRUE(entry.backend->supports(t)) << name_of(t);
  for (DType t : {DType::kUInt8, DType::kInt32, DType::kInt64})
    EXPECT_FALSE(entry.backend->supports(t)) << name_of(t);
}

// Blocks are aligned to 256 bytes and do not overlap; what is too much gives nullptr and harms nothing.
void check_allocate(const BackendUnderTest& entry) {
  Backend& b = *entry.backend;
  const std::vector<size_t> sizes = {1, 3, 255, 256, 257, 4096, 1000003};
  std::vector<std::pair<uintptr_t, size_t>> blocks;
  for (size_t bytes : sizes) {
    void* p = b.allocate(bytes);
    ASSERT_NE(p, nullptr);
    blocks.emplace_back(reinterpret_cast<uintptr_t>(p), bytes);
    EXPECT_EQ(blocks.back().first % 256, 0u) << bytes << " bytes";
  }
  auto sorted = blocks;
  std::sort(sorted.begin(), sorted.end());
  for (size_t i = 1; i < sorted.size(); ++i)
    EXPECT_LE(sorted[i - 1].first + sorted[i - 1].second, sorted[i].first);
  for (auto [p, bytes] : blocks) b.deallocate(reinterpret_cast<void*>(p), bytes);
  EXPECT_EQ(b.allocate(SIZE_MAX / 2), nullptr);
  EXPECT_EQ(b.allocate(SIZE_MAX - 8), nullptr);
}

/// The size of this process's address space in bytes; 0 where the system does not say.
size_t address_space() {
  size_t pages = 0;
  std::ifstream("/proc/self/statm") >> pages;
  return pages * 4096;
}

// Memory can be had again: in all, on a GPU more than any has; on the host, where untouched memory costs
// nothing, enough to show in the size of the address space. (An emulated GPU fills what it gives out with
// NaN: there, a gigabyte at a time would take minutes.)
void check_deallocate(const BackendUnderTest& entry) {
  const bool is_gpu = !entry.on_host_threads && !entry.emulated;
  const size_t bytes = size_t{1} << (is_gpu ? 30 : 26);  // 1 GiB, 64 MiB
  const size_t before = address_space();
  for (int i = 0; i < (is_gpu ? 512 : 32); ++i) {
    void* p = entry.backend->allocate(bytes);
    ASSERT_NE(p, nullptr) << "block " << i;
    entry.backend->deallocate(p, bytes);
  }
  if (is_gpu) return;
  EXPECT_LT(address_space(), before + (size_t{1} << 30)) << "of 2 GiB, half was not given back";
}

/// Bytes up and down again, at an odd place, with the bytes beside them untouched.
void check_transfers(const BackendUnderTest& entry) {
  Backend& b = *entry.backend;
  std::vector<uint8_t> all(1000), part(501), back(1000);
  std::iota(all.begin(), all.end(), uint8_t{0});
  std::fill(part.begin(), part.end(), uint8_t{77});
  uint8_t* p = static_cast<uint8_t*>(b.allocate(all.size()));
  ASSERT_NE(p, nullptr);
  b.upload(p, all.data(), all.size());
  b.upload(p + 13, part.data(), part.size());
  std::copy(part.begin(), part.end(), all.begin() + 13);
  std::fill(part.begin(), part.end(), uint8_t{0});  // an upload no longer needs its source
  b.download(back.data(), p, back.size());
  EXPECT_EQ(back, all);
  b.download(part.data(), p + 7, part.size());
  EXPECT_TRUE(std::equal(part.begin(), part.end(), all.begin() + 7));
  b.deallocate(p, all.size());
}

// Uploads, operations and downloads happen in the order of their calls.
void check_synchronize(const BackendUnderTest& entry) {
  Backend& b = *entry.backend;
  constexpr int64_t kCount = 4099;
  std::vector<float> host(kCount, 3.0f);
  void* p = b.allocate(kCount * sizeof(float));
  const TensorRef x(p, DType::kFloat32, {kCount});
  b.upload(p, host.data(), x.bytes());
  b.add(x, 2, x, 1, x);
  b.fill(TensorRef(p, DType::kFloat32, {1}), 5);
  b.synchronize();
  b.download(host.data(), p, x.bytes());
  EXPECT_EQ(host[0], 5.0f);
  EXPECT_EQ(std::count(host.begin() + 1, host.end(), 9.0f), kCount - 1);
  b.deallocate(p, x.bytes());
}

// A download that is looked at later has the bytes as they were when it was asked for, also when its memory
// was used again meanwhile, and may be let go of before it has arrived.
void check_download_later(const BackendUnderTest& entry) {
  Backend& b = *entry.backend;
  constexpr int64_t kCount = 4099;
  void* p = b.allocate(kCount * sizeof(float));
  const TensorRef x(p, DType::kFloat32, {kCount});
  std::vector<std::unique_ptr<Download>> downloads;
  for (int i = 0; i < 4; ++i) {
    b.fill(x, i);
    downloads.push_back(b.download_later(p, x.bytes()));
  }
  downloads.erase(downloads.begin());
  while (!downloads[0]->arrived()) {
  }
  for (int i = 0; i < 3; ++i) {
    const auto* floats = static_cast<const float*>(downloads[static_cast<size_t>(i)]->wait());
    EXPECT_EQ(std::count(floats, floats + kCount, static_cast<float>(i + 1)), kCount);
  }
  b.deallocate(p, x.bytes());
}

// What is said to be free is no more than there is, and less by what was taken. The host says nothing.
void check_memory(const BackendUnderTest& entry) {
  const DeviceMemory before = entry.backend->memory();
  EXPECT_EQ(before.total != 0, !entry.on_host_threads);
  EXPECT_LE(before.free, before.total);
  if (before.total == 0) return;
  constexpr size_t kBytes = 64 << 20;  // beyond what a driver may keep at hand
  void* p = entry.backend->allocate(kBytes);
  ASSERT_NE(p, nullptr);
  EXPECT_LE(entry.backend->memory().free + kBytes, before.free);
  entry.backend->deallocate(p, kBytes);
}

// A graph computes nothing while it is recorded, and every launch what was recorded, from the memory as it is
// then. What may not be recorded is refused, and leaves the backend usable.
void check_graphs(const BackendUnderTest& entry) {
  Backend& b = *entry.backend;
  constexpr int64_t kCount = 1000;
  std::vector<float> host(kCount, 1.0f);
  void* p = b.allocate(kCount * sizeof(float));
  const TensorRef x(p, DType::kFloat32, {kCount});
  b.upload(p, host.data(), x.bytes());
  const auto value = [&] {
    b.download(host.data(), p, x.bytes());
    EXPECT_EQ(std::count(host.begin(), host.end(), host[0]), kCount);
    return host[0];
  };
  if (!b.has_graphs()) {
    EXPECT_THROW(b.record_graph([] {}), Error);
  } else {
    const auto graph = b.record_graph([&] {
      b.add(x, 2, x, 1, x);
      b.add(x, 1, x, 1, x);
    });
    EXPECT_EQ(value(), 1);
    graph->launch();
    graph->launch();
    EXPECT_EQ(value(), 36);
    b.fill(x, 1);
    graph->launch();
    EXPECT_EQ(value(), 6);
    EXPECT_THROW(b.record_graph([&] { b.upload(p, host.data(), x.bytes()); }), Error);
    EXPECT_THROW(b.record_graph([&] { b.download(host.data(), p, x.bytes()); }), Error);
    EXPECT_EQ(value(), 6);
  }
  b.deallocate(p, x.bytes());
}

OpRow memory_row(const char* op, void (*check)(const BackendUnderTest&)) {
  return {.op = op, .types = {DType::kFloat32}, .check = check};
}

}  // namespace

std::vector<OpRow> memory_rows() {
  return {memory_row("name", check_name),
          memory_row("supports", check_supports),
          memory_row("allocate", check_allocate),
          memory_row("deallocate", check_deallocate),
          memory_row("upload", check_transfers),
          memory_row("download", check_transfers),
          memory_row("download_later", check_download_later),
          memory_row("synchronize", check_synchronize),
          memory_row("memory", check_memory),
          memory_row("has_graphs", check_graphs),
          memory_row("record_graph", check_graphs)};
}

}  // namespace imago::test
