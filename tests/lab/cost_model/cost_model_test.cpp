// The cost model against counts by hand and against kernels/plan/.
#include <gtest/gtest.h>

#include <map>

#include "kernels/cuda/convolution/conv2d_tiling.h"
#include "kernels/plan/plan_backend.h"
#include "lab/cost_model/cost_model.h"
#include "lab/cost_model/sass_table.h"
#include "tests/lab/cost_model/cifar10_unet.h"

namespace imago {
namespace {

const GpuModel& h100() {
  return gpu_model("h100");
}

/// A tensor that is nowhere, aligned.
TensorRef tensor(const Shape& shape, DType type = DType::kBFloat16) {
  return {plan_backend().allocate(static_cast<size_t>(shape.numel()) * size_of(type)), type, shape};
}

/// A 3x3 convolution of N images, C to K channels, forward (or another operation of the same tensors).
RecordedOperation conv3x3(const char* name, int64_t n, int64_t side, int64_t c, int64_t k) {
  RecordedOperation o;
  o.operation.name = name;
  o.operation.x.a = tensor({n, side, side, c}), o.operation.y = tensor({n, side, side, k});
  const bool gradient = std::string(name) == "conv2d_wgrad";
  o.operation.w = tensor({k, 3, 3, c}, gradient ? DType::kFloat32 : DType::kBFloat16);
  o.operation.geometry = Conv2dGeometry::same(3);
  o.flops = 2 * n * side * side * k * 9 * c;
  o.bytes = static_cast<int64_t>(o.operation.x.a.bytes() + o.operation.y.bytes() + o.operation.w.bytes());
  return o;
}

double relative_error(double value, double expected) {
  return std::abs(value / expected - 1);
}

// 128 images of 32x32: 512 boxes of 8x32 pixels and 2 rows of halo. 18 steps (2 blocks of channels, 9 taps)
// of 2 * 256 * 128 * 64 FLOP: 1024 cycles each. A step reads 4 pieces of 64 pixels x 4 wgmma of 16 channels x
// 6 KiB = 96 KiB and receives 16 KiB of filters and a third of 34 * 8 * 128 bytes of pixels.
TEST(CostModel, ConvolutionAt32x32ByHand) {
  const std::vector<Launch> launches = launches_of(h100(), conv3x3("conv2d", 128, 32, 128, 128));
  ASSERT_EQ(launches.size(), 1u);
  const Launch& l = launches[0];
  EXPECT_EQ(l.name, "conv2d_wgmma 256x128");
  EXPECT_EQ(l.blocks, 132);  // which share
  EXPECT_EQ(l.tiles, 512);
  EXPECT_DOUBLE_EQ(l.tensor_cycles, 18 * 1024);
  EXPECT_DOUBLE_EQ(l.shared_cycles, 18 * (98304 + 16384 + 34816 / 3.0) / 128);
  EXPECT_DOUBLE_EQ(l.flops, l.useful_flops);
  const LaunchTime t = time_of(h100(), l);
  EXPECT_DOUBLE_EQ(t.waves, 512 / 132.0);                 // 3.88: four rounds, the last of them 116 blocks
  const double tile = l.tensor_cycles + l.serial_cycles;  // shared memory keeps up
  EXPECT_NEAR(t.utilisation, (l.start_cycles + 512 * tile / 132) / (l.start_cycles + 4 * tile), 1e-12);
}

// Four lines of four groups a thread, two warps a scheduler. With a filter ring of seven stages one warpgroup
// lags six steps of 512 cycles behind, which hide that much of the end, but for the last tile's.
TEST(CostModel, OneWarpgroupMultipliesWhileTheOtherFinishes) {
  const GpuModel& gpu = h100();
  const Launch l = launches_of(gpu, conv3x3("conv2d", 128, 32, 128, 128))[0];
  const double end = sass_table().end("conv2d_wgmma<256, false");
  const double finish = std::max(8 * end / 4 / gpu.issue_share, end + 16 * gpu.l1_latency * 4 / 3);
  EXPECT_DOUBLE_EQ(l.serial_cycles, finish - 6 * 512);
  EXPECT_DOUBLE_EQ(l.start_cycles, gpu.block_fill + 6 * 512);
  // 64 channels, 1x1: one step a tile, nothing to lag behind.
  RecordedOperation o = conv3x3("conv2d", 128, 32, 64, 128);
  o.operation.w.shape = {128, 1, 1, 64};
  o.operation.geometry = Conv2dGeometry::same(1);
  EXPECT_DOUBLE_EQ(launches_of(gpu, o)[0].serial_cycles, finish);
}

// A residual comes two lines ahead: nothing to wait for, unless memory takes longer than two lines to finish.
TEST(CostModel, ResidualsComeAhead) {
  RecordedOperation o = conv3x3("conv2d", 128, 32, 128, 128);
  const double without = launches_of(h100(), o)[0].serial_cycles;
  o.operation.epilogue.residual = o.operation.y;
  EXPECT_DOUBLE_EQ(launches_of(h100(), o)[0].serial_cycles, without);
  GpuModel slow = h100();
  slow.memory_latency = 4000 / slow.tensor_clock;
  EXPECT_GT(launches_of(slow, o)[0].serial_cycles, without);
}

// At 4x4 there are 16 boxes of 128 pixels and two tiles of channels: 32 blocks, too few. 64x64 tiles instead:
// 32 x 4.
TEST(CostModel, ConvolutionAt4x4TakesTheSmallTile) {
  const std::vector<Launch> launches = launches_of(h100(), conv3x3("conv2d", 128, 4, 256, 256));
  ASSERT_EQ(launches.size(), 1u);
  EXPECT_EQ(launches[0].name, "implicit_gemm 64x64");
  EXPECT_EQ(launches[0].blocks, 128);
  EXPECT_DOUBLE_EQ(launches[0].flops, launches[0].useful_flops);
  EXPECT_EQ(launches[0].resident, 4);
}

// dw [128,3,3,128] is one tile of k's x 2 blocks of channels x 3 columns of taps; 22 parts make 132 blocks.
TEST(CostModel, WgradInParts) {
  const std::vector<Launch> launches = launches_of(h100(), conv3x3("conv2d_wgrad", 128, 32, 128, 128));
  ASSERT_EQ(launches.size(), 2u);
  EXPECT_EQ(launches[0].blocks, 6 * 22);
  EXPECT_EQ(launches[1].name, "add_parts");
  EXPECT_EQ(launches[1].useful_flops, 0);
}

// dbias costs no launch: four of the six tiles of columns read every fourth box of dy once more from
// shared memory, 128 pixels of 128 channels, 47 boxes a part. It is K more elements, in a 577th block of
// the second launch.
TEST(CostModel, BiasGradientComesOutOfWgrad) {
  RecordedOperation o = conv3x3("conv2d_wgrad", 128, 32, 128, 128);
  const std::vector<Launch> without = launches_of(h100(), o);
  o.operation.dbias = true;
  const std::vector<Launch> with = launches_of(h100(), o);
  ASSERT_EQ(with.size(), 2u);
  EXPECT_EQ(with[0].blocks, without[0].blocks);
  EXPECT_DOUBLE_EQ(with[0].tensor_cycles, without[0].tensor_cycles);
  EXPECT_DOUBLE_EQ(with[0].shared_cycles, without[0].shared_cycles + 47 / 4.0 * 128 * 128 * 2 / 128);
  EXPECT_EQ(without[1].blocks, 576);
  EXPECT_EQ(with[1].blocks, 577);
}

// conv_in's dgrad would read three channels element by element: no sixteen bytes, no Hopper. conv_out is for
// registers: 131072 pixels in runs of 131072 / (3 * 4 * 132) + 1 = 83 for each of four warps a block.
TEST(CostModel, ThreeChannels) {
  const std::vector<Launch> out = launches_of(h100(), conv3x3("conv2d", 128, 32, 128, 3));
  ASSERT_EQ(out.size(), 1u);
  EXPECT_EQ(out[0].name, "conv2d_to_narrow");
  EXPECT_EQ(out[0].blocks, (131072 + 331) / 332);
  const std::vector<Launch> in = launches_of(h100(), conv3x3("conv2d", 128, 32, 3, 128));
  ASSERT_EQ(in.size(), 1u);
  EXPECT_EQ(in[0].name, "implicit_gemm 64x64 by element");
  EXPECT_NEAR(in[0].flops / in[0].useful_flops, 32.0 / 27, 1e-9);  // one step of 32
}

TEST(CostModel, OlderAndLargerGpusHaveNoWgmma) {
  for (const char* gpu : {"a100", "4090", "5090"})
    EXPECT_EQ(launches_of(gpu_model(gpu), conv3x3("conv2d", 128, 32, 128, 128))[0].name,
              "implicit_gemm 128x128")
        << gpu;
  EXPECT_THROW(gpu_model("h900"), Error);
}

/// One step of the CIFAR-10 U-Net at batch 128, and what it costs.
struct Cifar10Step : testing::Test {
  static const std::vector<OperationCost>& costs() {
    static const std::vector<OperationCost> all =
        cost_of(h100(), record_training_step(test::cifar10_training(128)));
    return all;
  }
};

TEST_F(Cifar10Step, ConvolutionsDoTheWorkThatThePlanCounts) {
  reset_plan_counts();
  record_training_step(test::cifar10_training(128));  // two steps
  std::map<std::string, double> planned, modelled;
  for (const char* name : {"conv2d", "conv2d_dgrad", "conv2d_wgrad"})
    planned[name] = static_cast<double>(plan_counts().by_operation.at(name).flops) / 2;
  double training = 0;
  for (const OperationCost& c : costs())
    if (planned.contains(c.recorded.operation.name))
      for (const LaunchCost& l : c.launches) {
        modelled[c.recorded.operation.name] += l.launch.useful_flops;
        EXPECT_GE(l.launch.flops * 1.01, l.launch.useful_flops);  // epilogues are not multiplied
      }
  for (const auto& [name, flops] : planned) {
    EXPECT_LT(relative_error(modelled[name], flops), 1e-9) << name;
    training += flops;
  }
  EXPECT_LT(relative_error(planned["conv2d"], 1.55e12), 0.01);
  EXPECT_LT(relative_error(training, 4.65e12), 0.01);
}

TEST_F(Cifar10Step, ConvolutionsByResolutionOfTheirOutput) {
  std::map<int64_t, double> gflops;
  for (const OperationCost& c : costs()) {
    const Operation& o = c.recorded.operation;
    if (std::string(o.name) == "conv2d" && o.w.shape[1] == 3)
      gflops[o.y.shape[1]] += 1e-9 * static_cast<double>(c.recorded.flops);
  }
  EXPECT_LT(relative_error(gflops[32], 698), 0.01);
  EXPECT_LT(relative_error(gflops[16], 512), 0.01);
  EXPECT_LT(relative_error(gflops[8], 145), 0.01);
  EXPECT_LT(relative_error(gflops[4], 43), 0.015);  // 43.5: rounded down elsewhere
}

// 51 layers; 0.86 GB in and as much out: 0.57 ms at 3 TB/s, and half as much again on the way back, besides
// what the gradients are added to.
TEST_F(Cifar10Step, GroupNormMovesEveryActivationTwice) {
  int layers = 0;
  double in = 0, lower = 0, lower_backward = 0, so_far = 0;
  for (const OperationCost& c : costs()) {
    const std::string name = c.recorded.operation.name;
    for (const LaunchCost& l : c.launches) {
      lower += name == "group_norm" ? l.time.lower_bound : 0;
      lower_backward += name == "group_norm_backward" ? l.time.lower_bound : 0;
    }
    if (name == "group_norm_backward") so_far += bytes_of(c.recorded.operation.so_far);
    if (name != "group_norm") continue;
    ++layers;
    in += static_cast<double>(c.recorded.operation.y.bytes());
  }
  EXPECT_EQ(layers, 51);
  EXPECT_LT(relative_error(in, 0.86e9), 0.01);
  EXPECT_LT(relative_error(lower, 0.57e-3), 0.02);
  EXPECT_LT(relative_error(lower_backward - so_far / h100().memory_bandwidth, 0.86e-3), 0.02);
}

// What several layers read, and what skip connections and residuals carry, is summed by dgrad and
// GroupNorm. Eight blocks without a shortcut read what a skip connection reads, too: two gradients are
// there before either of those runs.
TEST_F(Cifar10Step, SumsOfGradientsHardlyTakePassesOfTheirOwn) {
  std::map<std::string, int> calls, sums;  // sums: tensors that continue what others have collected
  for (const OperationCost& c : costs()) {
    const Operation& o = c.recorded.operation;
    ++calls[o.name];
    sums[o.name] += (o.so_far.a ? 1 : 0) + (o.so_far.b ? 1 : 0);
  }
  EXPECT_EQ(calls["add"], 8);
  EXPECT_EQ(sums["conv2d_dgrad"] + sums["group_norm_backward"], 85 - 8);
}

TEST_F(Cifar10Step, EveryTimeIsExplainedAndAboveItsFloor) {
  for (const OperationCost& c : costs()) {
    ASSERT_FALSE(c.launches.empty()) << c.recorded.operation.name;
    for (const auto& [l, t] : c.launches) {
      for (double part : {t.lower_bound, t.padding, t.operands, t.latency, t.tail, t.passes})
        EXPECT_GE(part, 0);
      EXPECT_GE(t.total(), t.lower_bound + h100().launch) << l.name;
      EXPECT_GT(t.utilisation, 0) << l.name;
      EXPECT_LE(t.utilisation, 1 + 1e-12) << l.name;
      EXPECT_GE(t.total() * h100().memory_bandwidth, l.memory_bytes) << l.name;
      EXPECT_GE(t.total() * h100().tensor_peak() * (l.roof > 0), l.flops) << l.name;
    }
  }
}

// Blocks that are alone on their multiprocessors take as long as one; two rounds take twice as long.
TEST(TimeOf, Waves) {
  Launch l;
  l.roof = h100().tensor_flops;
  l.tensor_cycles = 16000;  // 10 us
  l.useful_flops = 1e6;
  const auto microseconds = [&](int64_t blocks) {
    l.blocks = blocks;
    return 1e6 * (time_of(h100(), l).total() - h100().launch);
  };
  EXPECT_NEAR(microseconds(1), 10, 1e-9);
  EXPECT_NEAR(microseconds(132), 10, 1e-9);
  EXPECT_NEAR(microseconds(133), 20, 1e-9);
  EXPECT_STREQ(time_of(h100(), l).limit, "waves");
  l.resident = 2;  // together they are no faster
  EXPECT_NEAR(microseconds(264), 20, 1e-9);
  l.serial_cycles = 16000;  // but one waits while the other computes
  EXPECT_NEAR(microseconds(264), 20, 1e-9);
  EXPECT_NEAR(microseconds(132), 20, 1e-9);
}

// A persistent block starts once, whatever the number of its tiles.
TEST(TimeOf, PersistentBlocks) {
  Launch l;
  l.roof = h100().tensor_flops;
  l.blocks = 132, l.tiles = 3 * 132;
  l.tensor_cycles = 12000, l.serial_cycles = 3000, l.start_cycles = 1600;  // 7.5, 1.875 and 1 us
  l.useful_flops = 1e6;
  EXPECT_NEAR(1e6 * (time_of(h100(), l).total() - h100().launch), 1 + 3 * (7.5 + 1.875), 1e-9);
}

TEST(TimeOf, Bandwidth) {
  Launch l;
  l.blocks = 1000, l.resident = 8;
  l.memory_bytes = l.useful_bytes = 3e8;  // 100 us at 3 TB/s
  const double all = time_of(h100(), l).total();
  EXPECT_NEAR(all, 1e-4 + h100().memory_latency + h100().launch, 1e-12);
  l.blocks = 1, l.in_flight = 6000;  // one block with 6 kB on their way: 6 kB in 0.6 us
  EXPECT_NEAR(time_of(h100(), l).total(), 3e8 / (6000 / 0.6e-6) + 1.6e-6, 1e-9);
  EXPECT_STREQ(time_of(h100(), l).limit, "latency");
}

}  // namespace
}  // namespace imago
