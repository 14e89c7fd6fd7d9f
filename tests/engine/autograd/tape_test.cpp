// The tape itself: accumulation, order, freeing, modes.
#include <gtest/gtest.h>

#include "engine/autograd/recompute.h"
#include "engine/ops/elementwise.h"
#include "engine/tensor/allocator.h"
#include "tests/support/gradient_check.h"

namespace imago {
namespace {

Tensor ones(const Shape& shape) {
  Tensor t = empty(shape, DType::kFloat64, Device::kReference);
  backend_of(t).fill(t, 1);
  return t;
}

TEST(Tape, ADiamondSumsBothPaths) {
  const Tensor x = random_leaf({4}, 1);
  check_gradients(
      [&] {
        const Tensor h = silu(x);
        return add(silu(h), scale(h, 3));  // h is used twice
      },
      {x});
}

TEST(Tape, SharedGradientsAreNotOverwritten) {
  // add() hands the same dy to both inputs; one of them then receives a second gradient. In-place sums would
  // corrupt the other.
  const Tensor a = random_leaf({3}, 1), b = random_leaf({3}, 2);
  check_gradients(
      [&] {
        const Tensor u = silu(a), v = silu(b);
        return add(add(u, v), u);
      },
      {a, b});
}

TEST(Tape, LeavesAccumulateOverCalls) {
  const Tensor x = random_leaf({3}, 1);
  backward(scale(x, 2), ones({3}));
  backward(scale(x, 5), ones({3}));
  EXPECT_EQ(to_vector<double>(x.grad()), (std::vector<double>{7, 7, 7}));
}

TEST(Tape, NoGradRecordsNothing) {
  const Tensor x = random_leaf({3}, 1);
  const NoGrad no_grad;
  EXPECT_FALSE(silu(x).requires_grad());
  EXPECT_THROW(backward(silu(x), ones({3})), Error);
}

TEST(Tape, NothingIsRecordedForInputsThatWantNoGradient) {
  EXPECT_FALSE(silu(random_tensor({3}, 1)).requires_grad());
}

TEST(Tape, BackwardRunsOnce) {
  const Tensor x = random_leaf({3}, 1), y = silu(x);
  backward(y, ones({3}));
  EXPECT_THROW(backward(y, ones({3})), Error);
}

TEST(Tape, ActivationsAreFreedAsBackwardPassesThem) {
  constexpr int64_t kBytes = 8 << 10;
  const Tensor x = random_leaf({kBytes / 8}, 1);
  Allocator& allocator = allocator_of(Device::kReference);
  const int64_t before = allocator.stats().bytes_in_use;
  Tensor y = x;
  for (int i = 0; i < 10; ++i) y = silu(y);
  EXPECT_EQ(allocator.stats().bytes_in_use - before,
            10 * kBytes);  // every silu keeps its input, the last result lives
  const Tensor dy = ones(y.shape());
  y = [&] {  // backward keeps nothing but x's gradient
    backward(y, dy);
    return Tensor();
  }();
  EXPECT_EQ(allocator.stats().bytes_in_use - before, 2 * kBytes);  // dy and x.grad()
}

TEST(Tape, RecomputeKeepsOnlyItsInputs) {
  constexpr int64_t kBytes = 8 << 10;
  const Tensor x = random_leaf({kBytes / 8}, 1);
  Allocator& allocator = allocator_of(Device::kReference);
  const int64_t before = allocator.stats().bytes_in_use;
  const auto deep = [](const std::vector<Tensor>& in) {
    Tensor h = in[0];
    for (int i = 0; i < 10; ++i) h = silu(h);
    return h;
  };
  const Tensor y = recompute(deep, {x});
  EXPECT_EQ(allocator.stats().bytes_in_use - before, kBytes);  // the result alone
}

TEST(AllocatorTest, ReusesMergesAndCounts) {
  Allocator& allocator = allocator_of(Device::kReference);
  void* a = allocator.allocate(1 << 20);
  void* b = allocator.allocate(1 << 20);
  const MemoryStats before = allocator.stats();
  allocator.free(a);
  allocator.free(b);
  void* both = allocator.allocate(2 << 20);  // fits only if the neighbours merged
  EXPECT_EQ(allocator.stats().device_allocations, before.device_allocations);
  EXPECT_EQ(allocator.stats().bytes_in_use, before.bytes_in_use);
  EXPECT_EQ(reinterpret_cast<uintptr_t>(both) % 256, 0u);
  allocator.free(both);
  EXPECT_THROW(allocator.free(both), Error);
  allocator.reset_peak();
  EXPECT_EQ(allocator.stats().peak_bytes, allocator.stats().bytes_in_use);
}

TEST(AllocatorTest, OutOfMemoryIsOneClearLine) {
  try {
    allocator_of(Device::kReference).allocate(size_t{1} << 60);
    FAIL() << "an exabyte was allocated";
  } catch (const Error& e) {
    EXPECT_EQ(e.fault, Fault::kFailure);
    EXPECT_NE(std::string(e.what()).find("out of memory on reference: asked for"), std::string::npos)
        << e.what();
  }
}

}  // namespace
}  // namespace imago
