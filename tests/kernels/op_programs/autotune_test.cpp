// The autotuner by itself: what it measures and when, and what its cache survives. Candidates here are host
// functions that take their time on an emulated stream; that real candidates are right is the op table's
// business (see cuda_on_cpu.cpp).
#include "kernels/cuda/runtime/autotune.h"

#include <gtest/gtest.h>
#include <unistd.h>

#include <chrono>
#include <cstdlib>
#include <fstream>
#include <iterator>
#include <thread>

#include "kernels/cuda/convolution/conv2d_tiling.h"
#include "kernels/cuda/norm/group_norm_tiling.h"

namespace imago::cuda_on_cpu {
namespace {

namespace fs = std::filesystem;

constexpr Choice kRule{Kernel::kTile64}, kLarge{Kernel::kTile128}, kSplit{Kernel::kTile64, 4};

ChoiceKey key_of(int64_t images) {
  return {TunedOp::kConv2dWgrad, DType::kBFloat16, {images, 8, 8, 64, 0, 64, 3, 3, 1, 1, 1, 8, 8, 3}};
}
const std::string kKeyOfTwo =
    "conv2d_wgrad bfloat16 N=2 H=8 W=8 Ca=64 Cb=0 K=64 R=3 S=3 stride=1 top=1 left=1 Ho=8 Wo=8 vector=3";

void sleep_a_while(void* microseconds) {
  if (microseconds)
    std::this_thread::sleep_for(std::chrono::microseconds(reinterpret_cast<intptr_t>(microseconds)));
}

class AutotunerTest : public testing::Test {
 protected:
  AutotunerTest() {
    std::string name = (fs::temp_directory_path() / "imago-autotune-XXXXXX").string();
    folder_ = mkdtemp(name.data());
    gpu_.sms = 132, gpu_.capability = 90;
    cudaStreamCreateWithFlags(&gpu_.stream, cudaStreamNonBlocking);
  }
  ~AutotunerTest() override {
    cudaStreamDestroy(gpu_.stream);
    fs::remove_all(folder_);
  }

  Autotuner tuner(bool measures = true, std::vector<ShippedChoices> shipped = {}) const {
    return Autotuner({.measures = measures, .folder = folder_, .shipped = std::move(shipped)});
  }
  /// Chooses among three, of which the split one is by far the fastest and the rule's the slowest.
  Choice choose_from(Autotuner& tuner, const ChoiceKey& key) {
    gpu_.autotuner = &tuner;
    const auto list = [] {
      Candidates c(kRule);
      c.add(kLarge), c.add(kSplit), c.add(kLarge);
      return c;
    };
    return choose(gpu_, key, list, [&](Choice c) {
      ++runs_;
      const intptr_t microseconds = c == kSplit ? 0 : c == kLarge ? 3000 : 6000;
      cudaLaunchHostFunc(gpu_.stream, sleep_a_while, reinterpret_cast<void*>(microseconds));
    });
  }

  fs::path file() const {
    const fs::directory_iterator first(folder_);
    return first == fs::directory_iterator() ? fs::path() : first->path();
  }
  std::string content() const {
    std::ifstream in(file());
    return {std::istreambuf_iterator<char>(in), {}};
  }
  std::string gpu_name() const {  // as a shipped table spells it
    const std::string stem = file().stem().string(), prefix = "autotune-";
    return stem.substr(prefix.size(), stem.rfind('-') - prefix.size());
  }

  fs::path folder_;
  Gpu gpu_;
  int runs_ = 0;
};

TEST_F(AutotunerTest, MeasuresAShapeOnceAndKeepsTheFastest) {
  Autotuner first = tuner();
  EXPECT_EQ(choose_from(first, key_of(2)), kSplit);
  EXPECT_EQ(first.measured(), 1);
  const int runs = runs_;
  EXPECT_GE(runs, 12);  // a warm-up and three rounds of three
  EXPECT_EQ(choose_from(first, key_of(2)), kSplit);
  EXPECT_EQ(runs_, runs) << "a known shape was run again";
  EXPECT_EQ(choose_from(first, key_of(3)), kSplit);
  EXPECT_EQ(first.measured(), 2);
  EXPECT_EQ(content().find(kKeyOfTwo + " -> tile_64 x 4 ("), 0u) << content();
}

TEST_F(AutotunerTest, AnotherProcessReadsTheCache) {
  Autotuner first = tuner();
  choose_from(first, key_of(2));
  runs_ = 0;
  Autotuner second = tuner();
  EXPECT_EQ(choose_from(second, key_of(2)), kSplit);
  EXPECT_EQ(second.measured(), 0);
  EXPECT_EQ(runs_, 0);
}

TEST_F(AutotunerTest, TwoProcessesAddToOneFile) {
  Autotuner first = tuner(), second = tuner();
  choose_from(first, key_of(2));
  choose_from(second, key_of(3));
  choose_from(first, key_of(4));
  runs_ = 0;
  Autotuner third = tuner();
  for (int images : {2, 3, 4}) EXPECT_EQ(choose_from(third, key_of(images)), kSplit);
  EXPECT_EQ(runs_, 0);
}

TEST_F(AutotunerTest, OtherGpusHaveOtherFiles) {
  Autotuner first = tuner();
  choose_from(first, key_of(2));
  gpu_.sms = 114;
  Autotuner second = tuner();
  choose_from(second, key_of(2));
  EXPECT_EQ(second.measured(), 1);
  EXPECT_EQ(std::distance(fs::directory_iterator(folder_), {}), 2);
}

TEST(AutotunerChoice, IsTheFastestIfThatIsMoreThanNoise) {
  EXPECT_EQ(Autotuner::fastest({100, 90, 80, 85}), 2u);
  EXPECT_EQ(Autotuner::fastest({100, 98, 99}), 0u);
  EXPECT_EQ(Autotuner::fastest({100}), 0u);
}

TEST_F(AutotunerTest, IgnoresWhatIsNoChoice) {
  Autotuner first = tuner();
  choose_from(first, key_of(2));
  const std::string good = content();
  std::ofstream(file(), std::ios::binary)
      << "\x7f"
         "ELF\n"
      << kKeyOfTwo << " -> tile_256 x 4 (1.0 us, by rule 2.0 us);\n"  // no such kernel
      << kKeyOfTwo << " -> tile_64 x 0 (1.0 us, by rule 2.0 us);\n"
      << " -> tile_64 x 1 (1.0 us, by rule 2.0 us);\n"
      << good << kKeyOfTwo << " -> tile_128 x";  // a program was killed here
  testing::internal::CaptureStderr();
  Autotuner second = tuner();
  EXPECT_EQ(choose_from(second, key_of(2)), kSplit);
  EXPECT_EQ(second.measured(), 0);
  const std::string said = testing::internal::GetCapturedStderr();
  EXPECT_NE(said.find("5 lines that hold no choice"), std::string::npos) << said;
  EXPECT_EQ(std::count(said.begin(), said.end(), '\n'), 1) << said;

  choose_from(second, key_of(3));  // goes to a line of its own, behind the one that was cut off
  testing::internal::CaptureStderr();
  Autotuner third = tuner();
  EXPECT_EQ(choose_from(third, key_of(3)), kSplit);
  EXPECT_EQ(third.measured(), 0);
  testing::internal::GetCapturedStderr();
}

TEST_F(AutotunerTest, AChoiceThatIsNoCandidateIsMeasuredAgain) {
  Autotuner first = tuner();
  choose_from(first, key_of(2));
  std::ofstream(file(), std::ios::app) << kKeyOfTwo << " -> slab_32 x 1 (1.0 us, by rule 2.0 us);\n";
  Autotuner second = tuner();
  EXPECT_EQ(choose_from(second, key_of(2)), kSplit);
  EXPECT_EQ(second.measured(), 1);
  Autotuner third = tuner();
  EXPECT_EQ(choose_from(third, key_of(2)), kSplit);
  EXPECT_EQ(third.measured(), 0);
}

TEST_F(AutotunerTest, AFolderThatCannotBeWrittenCostsOneWarning) {
  std::ofstream(folder_ / "file") << "a file, not a folder";
  folder_ /= "file/below";
  testing::internal::CaptureStderr();
  Autotuner tuner = this->tuner();
  EXPECT_EQ(choose_from(tuner, key_of(2)), kSplit);
  EXPECT_EQ(choose_from(tuner, key_of(3)), kSplit);
  const std::string said = testing::internal::GetCapturedStderr();
  EXPECT_NE(said.find("cannot be written (Not a directory); what is measured is not kept"), std::string::npos)
      << said;
  EXPECT_EQ(std::count(said.begin(), said.end(), '\n'), 1) << said;
  folder_ = folder_.parent_path().parent_path();
}

TEST_F(AutotunerTest, OffTakesTheRuleAndTouchesNothing) {
  Autotuner off = tuner(false);
  EXPECT_EQ(choose_from(off, key_of(2)), kRule);
  EXPECT_EQ(runs_, 0);
  EXPECT_EQ(file(), "");
}

TEST_F(AutotunerTest, TheShippedTableIsHonoured) {
  Autotuner measuring = tuner();
  choose_from(measuring, key_of(9));  // gives the GPU's name
  runs_ = 0;
  const std::string lines = "\n" + kKeyOfTwo + " -> tile_128 x 1 (1.0 us, by rule 2.0 us);\n" +
                            key_of(3).text() + " -> wgmma_256 x 1 (1.0 us, by rule 2.0 us);\n";
  const std::string name = gpu_name();
  for (const bool measures : {false, true}) {
    Autotuner with_table = tuner(measures, {{"another-gpu", ""}, {name.c_str(), lines.c_str()}});
    EXPECT_EQ(choose_from(with_table, key_of(2)), kLarge);
    EXPECT_EQ(with_table.measured(), 0);
    EXPECT_EQ(choose_from(with_table, key_of(3)), measures ? kSplit : kRule);  // wgmma_256 is no candidate
  }
  Autotuner of_another = tuner(false, {{"another-gpu", lines.c_str()}});
  EXPECT_EQ(choose_from(of_another, key_of(2)), kRule);
}

TEST_F(AutotunerTest, NothingIsTimedDuringACapture) {
  Autotuner tuner = this->tuner();
  choose_from(tuner, key_of(2));
  runs_ = 0;
  cudaStreamBeginCapture(gpu_.stream, cudaStreamCaptureModeGlobal);
  EXPECT_EQ(choose_from(tuner, key_of(2)), kSplit);  // known
  EXPECT_EQ(choose_from(tuner, key_of(3)), kRule);
  cudaGraph_t graph = nullptr;
  ASSERT_EQ(cudaStreamEndCapture(gpu_.stream, &graph), cudaSuccess);
  cudaGraphDestroy(graph);
  EXPECT_EQ(runs_, 0);
  EXPECT_EQ(choose_from(tuner, key_of(3)), kSplit) << "the miss was remembered";
}

// ---- The lists: what is tried, for a layer of the CIFAR-10 U-Net on an H100 and on an A100 ----

const GpuLimits kH100{132, 90, 227 << 10}, kA100{108, 80, 163 << 10};

struct Layer {  // 16x16x256 -> 256, 3x3, 128 images
  ConstTensorRef x{nullptr, DType::kBFloat16, {128, 16, 16, 256}}, dy = x;
  ConstTensorRef w{nullptr, DType::kBFloat16, {256, 3, 3, 256}};
  int64_t pixels = 128 * 16 * 16;

  Candidates forward(const GpuLimits& gpu, bool vector = true) const {
    return conv2d_candidates(gemm_tiling(gpu, vector, pixels, 256, 9 * 256, 32, 1), [&](int size) {
      return hopper_tiling(gpu, {x}, w, x.shape, 256, vector, size);
    });
  }
  Candidates wgrad(const GpuLimits& gpu) const {
    const auto hopper = wgrad_tiling(gpu, {x}, dy, Conv2dGeometry::same(3), w.shape);
    return wgrad_candidates(gpu, hopper, true, 256, 9 * 256, pixels, 32);
  }
};

std::vector<Kernel> kernels_of(const Candidates& candidates) {
  std::vector<Kernel> kernels;
  for (const Choice c : candidates) kernels.push_back(c.kernel);
  return kernels;
}

TEST(CandidateLists, OfForwardHoldTheKernelsThatSuitTheGpuTheRulesFirst) {
  const std::vector<Kernel> on_h100 = {Kernel::kWgmma256, Kernel::kWgmma128, Kernel::kTile128,
                                       Kernel::kTile64};
  const std::vector<Kernel> on_a100 = {Kernel::kTile128, Kernel::kTile64}, unaligned = {Kernel::kTile64};
  EXPECT_EQ(kernels_of(Layer().forward(kH100)), on_h100);
  EXPECT_EQ(kernels_of(Layer().forward(kA100)), on_a100);
  EXPECT_EQ(kernels_of(Layer().forward(kH100, false)), unaligned);
}

TEST(CandidateLists, OfWgradCutThePixelsInSeveralWays) {
  const Candidates on_h100 = Layer().wgrad(kH100), on_a100 = Layer().wgrad(kA100);
  EXPECT_EQ(on_h100.rule().kernel, Kernel::kWgmma128);
  EXPECT_EQ(on_a100.rule().kernel, Kernel::kTile128);
  for (const Candidates& list : {on_h100, on_a100}) {
    EXPECT_GE(list.size(), 6u);
    EXPECT_LE(list.size(), 10u) << "more than the op table is run for";
    for (const Choice c : list) {
      EXPECT_GE(c.parts, 1);
      EXPECT_LE(int64_t{c.parts} * 256 * 9 * 256 * 4, kMostPartBytes) << c.kernel_name();
    }
  }
  EXPECT_FALSE(on_a100.contains({Kernel::kWgmma128, 1}));
}

TEST(CandidateLists, OfGroupNormBeginWithTheRule) {
  const Shape x{2, 64, 64, 128};
  const Candidates list = group_norm_candidates(kH100, x, 0, 32, 8);
  EXPECT_EQ(list.rule(), (Choice{Kernel::kSlab32, Slabs(kH100, x, 0, 32, 8).chunks}));
  EXPECT_GT(list.rule().parts, 1);
  EXPECT_EQ(std::count(list.begin(), list.end(), list.rule()), 1);
  const std::vector<Kernel> kernels = kernels_of(list);
  EXPECT_TRUE(std::count(kernels.begin(), kernels.end(), Kernel::kSlab64));
  const Candidates one_slab =
      group_norm_candidates(kH100, {2, 64, 64, 32}, 0, 1, 8);  // 32 or 64 is all the same
  for (const Choice c : one_slab) EXPECT_EQ(c.kernel, Kernel::kSlab32);
}

TEST(AutotunerSettings, ComeFromTheEnvironment) {
  const std::string home = std::getenv("HOME") ? std::getenv("HOME") : "";
  unsetenv("IMAGO_AUTOTUNE");
  EXPECT_FALSE(TuningSettings::from_environment().measures) << "times in emulation say nothing";
  setenv("IMAGO_AUTOTUNE", "on", 1);
  setenv("IMAGO_CACHE_DIR", "/somewhere", 1);
  EXPECT_TRUE(TuningSettings::from_environment().measures);
  EXPECT_EQ(TuningSettings::from_environment().folder, "/somewhere/");
  unsetenv("IMAGO_CACHE_DIR");
  setenv("XDG_CACHE_HOME", "/xdg", 1);
  EXPECT_EQ(TuningSettings::from_environment().folder, "/xdg/imago");
  unsetenv("XDG_CACHE_HOME");
  setenv("HOME", "/home/someone", 1);
  EXPECT_EQ(TuningSettings::from_environment().folder, "/home/someone/.cache/imago");
  setenv("HOME", home.c_str(), 1);
  setenv("IMAGO_AUTOTUNE", "off", 1);
  EXPECT_FALSE(TuningSettings::from_environment().measures);
  setenv("IMAGO_AUTOTUNE", "fast", 1);
  try {
    TuningSettings::from_environment();
    FAIL() << "IMAGO_AUTOTUNE=fast was accepted";
  } catch (const Error& error) {
    EXPECT_EQ(error.fault, Fault::kBadInput);
    EXPECT_STREQ(error.what(), "IMAGO_AUTOTUNE=fast: on or off expected");
  }
  unsetenv("IMAGO_AUTOTUNE");
}

}  // namespace
}  // namespace imago::cuda_on_cpu
