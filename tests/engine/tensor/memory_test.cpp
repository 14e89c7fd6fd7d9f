// Device memory: what is freed is handed out again, pools keep to themselves, packed tensors arrive together.
#include <gtest/gtest.h>

#include "engine/tensor/allocator.h"
#include "engine/tensor/packed_upload.h"

namespace imago::test {
namespace {

constexpr Device kDevice = Device::kReference;  // where no other test of this program has tensors
constexpr size_t kBytes = 3 << 20;

TEST(AllocatorTest, HandsOutWhatWasFreed) {
  Allocator& allocator = allocator_of(kDevice);
  void* a = allocator.allocate(kBytes);
  void* b = allocator.allocate(kBytes);
  EXPECT_NE(a, b);
  allocator.free(a);
  allocator.free(b);  // neighbours: one block again
  const MemoryStats before = allocator.stats();
  void* both = allocator.allocate(2 * kBytes);
  EXPECT_EQ(both, std::min(a, b));
  EXPECT_EQ(allocator.stats().device_allocations, before.device_allocations);
  EXPECT_EQ(allocator.stats().bytes_in_use - before.bytes_in_use, static_cast<int64_t>(2 * kBytes));
  allocator.free(both);
  EXPECT_THROW(allocator.free(both), Error);
}

TEST(AllocatorTest, APoolKeepsItsMemoryToItself) {
  Allocator& allocator = allocator_of(kDevice);
  void* in_pool = nullptr;
  {
    const MemoryPool pool(kDevice);
    {
      const MemoryPool::Scope scope(pool);
      in_pool = allocator.allocate(kBytes);
    }
    allocator.free(in_pool);  // back to the pool, though the scope is over
    void* outside = allocator.allocate(kBytes);
    EXPECT_NE(outside, in_pool);
    allocator.free(outside);
    allocator.release_cached();  // not the pool's
    const MemoryPool::Scope scope(pool);
    void* again = allocator.allocate(kBytes);
    EXPECT_EQ(again, in_pool);
    allocator.free(again);
  }
  {
    const MemoryPool next(kDevice);  // takes over what the one before it left
    const MemoryPool::Scope scope(next);
    void* after = allocator.allocate(kBytes);
    EXPECT_EQ(after, in_pool);
    allocator.free(after);
  }
  allocator.release_cached();
  EXPECT_EQ(allocator.stats().bytes_reserved, 0);
}

TEST(PackedUploadTest, TensorsArriveTogetherAndStayInPlace) {
  PackedUpload packed;
  const auto bytes = packed.add({3}, DType::kUInt8);
  const auto floats = packed.add({2, 2}, DType::kFloat32);
  packed.allocate(Device::kCpu);
  const Tensor t = packed.tensor(floats);
  EXPECT_EQ(t.shape(), (Shape{2, 2}));
  for (const float first : {1.f, 5.f}) {
    for (int i = 0; i < 3; ++i) packed.host<uint8_t>(bytes)[i] = static_cast<uint8_t>(10 + i);
    for (int i = 0; i < 4; ++i) packed.host<float>(floats)[i] = first + static_cast<float>(i);
    packed.upload();
    EXPECT_EQ(to_vector<float>(t), (std::vector<float>{first, first + 1, first + 2, first + 3}));
    EXPECT_EQ(to_vector<uint8_t>(packed.tensor(bytes)), (std::vector<uint8_t>{10, 11, 12}));
  }
  EXPECT_THROW(packed.host<float>(bytes), Error);
  EXPECT_THROW(packed.host<uint8_t>(bytes, 1), Error);
  EXPECT_THROW(packed.upload(1), Error);
  EXPECT_THROW(packed.add({1}, DType::kFloat32), Error);
  EXPECT_THROW(t.reinterpret(4, {4}, DType::kFloat32), Error);
}

TEST(PackedUploadTest, TakesTheBlockThatItIsTold) {
  PackedUpload packed;
  packed.add({5}, DType::kUInt8);
  const auto ids = packed.add({2}, DType::kInt64);
  packed.allocate(Device::kCpu, 3);
  for (const size_t block : {0, 1, 2})
    for (const size_t i : {0, 1}) packed.host<int64_t>(ids, block)[i] = static_cast<int64_t>(10 * block + i);
  for (const size_t block : {2, 0, 1}) {
    packed.upload(block);
    const auto first = static_cast<int64_t>(10 * block);
    EXPECT_EQ(to_vector<int64_t>(packed.tensor(ids)), (std::vector<int64_t>{first, first + 1}));
  }
}

}  // namespace
}  // namespace imago::test
