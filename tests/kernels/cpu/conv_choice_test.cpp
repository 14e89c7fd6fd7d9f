// Who computes a convolution on the CPU: the rule, and tables that stand before it.
#include <gtest/gtest.h>

#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <vector>

#include "kernels/cpu/cpu_backend.h"

namespace imago {
namespace {

using cpu::ConvChoices;
using cpu::ConvKind;
using cpu::ConvPass;
using cpu::ConvShape;
using cpu::ConvWay;

constexpr ConvShape kThreeByThree{2, 16, 16, 32, 48, 3, 3, 16, 16, 1, 1, 1};
constexpr ConvShape kHalving{2, 16, 16, 32, 48, 3, 3, 8, 8, 2, 1, 1};
constexpr ConvPass kPasses[] = {ConvPass::kForward, ConvPass::kDgrad, ConvPass::kWgrad};

std::string message_of(const std::string& table) {
  try {
    ConvChoices::parse(table, "FILE");
  } catch (const Error& e) {
    EXPECT_EQ(e.fault, Fault::kBadInput);
    return e.what();
  }
  return "nothing was refused";
}

TEST(ConvChoice, AKindIsTheSameForEveryBatch) {
  ConvShape more = kThreeByThree;
  more.n = 64;
  for (const ConvPass pass : kPasses)
    EXPECT_EQ(ConvKind::of(pass, DType::kFloat32, kThreeByThree), ConvKind::of(pass, DType::kFloat32, more));
  const ConvShape rows{1, 1, 100, 32, 48, 1, 1, 1, 100, 1, 0, 0}, image{4, 5, 5, 32, 48, 1, 1, 5, 5, 1, 0, 0};
  EXPECT_EQ(ConvKind::of(ConvPass::kForward, DType::kFloat32, rows),
            ConvKind::of(ConvPass::kForward, DType::kFloat32, image))
      << "both are products of rows of 32 numbers and a matrix";
}

TEST(ConvChoice, TheRuleNamesAPossibleWay) {
  for (const ConvShape& shape : {kThreeByThree, kHalving, ConvShape{1, 8, 8, 3, 4, 3, 3, 8, 8, 1, 1, 1},
                                 ConvShape{1, 1, 9, 64, 64, 1, 1, 1, 9, 1, 0, 0}}) {
    for (const ConvPass pass : kPasses) {
      for (const DType type : {DType::kFloat32, DType::kBFloat16}) {
        const ConvKind kind = ConvKind::of(pass, type, shape);
        EXPECT_TRUE(cpu::is_possible(cpu::way_by_rule(kind, shape), pass, shape)) << kind.text();
      }
    }
  }
}

TEST(ConvChoice, ATableIsReadAsItIsWritten) {
  const ConvKind kind = ConvKind::of(ConvPass::kDgrad, DType::kBFloat16, kHalving);
  EXPECT_EQ(kind.text(), "conv2d_dgrad bfloat16 H=16 W=16 C=32 K=48 R=3 S=3 stride=2");
  const ConvChoices choices = ConvChoices::parse(
      "# words\n\n" + kind.text() + " -> winograd (onednn 2.0 ms)\n" + kind.text() + " -> onednn\n", "FILE");
  EXPECT_EQ(choices.size(), 1u);
  EXPECT_EQ(choices.find(kind), ConvWay::kOneDnn) << "the last line about a kind counts";
  EXPECT_FALSE(choices.find(ConvKind::of(ConvPass::kForward, DType::kBFloat16, kHalving)));
}

TEST(ConvChoice, ATableThatIsNoneIsRefusedByLine) {
  const std::string good = ConvKind::of(ConvPass::kForward, DType::kFloat32, kThreeByThree).text();
  for (const std::string& bad : {good, good + " -> fastest", "conv3d" + good.substr(6) + " -> direct",
                                 good.substr(0, 30), std::string("PNG\x1a")}) {
    EXPECT_NE(
        message_of(good + " -> direct\n" + bad + "\n").find("FILE, line 2: expected \"conv2d float32 H="),
        std::string::npos)
        << bad << ": " << message_of(good + " -> direct\n" + bad + "\n");
  }
}

/// y of the 3x3 convolution.
std::vector<float> convolve(CpuBackend& backend) {
  class Memory : public Workspace {
   public:
    void* get(size_t bytes) override {
      bytes_.resize(bytes + 256);
      return reinterpret_cast<void*>((reinterpret_cast<uintptr_t>(bytes_.data()) + 255) / 256 * 256);
    }

   private:
    std::vector<char> bytes_;
  } memory;
  const ConvShape& s = kThreeByThree;
  std::vector<float> x(static_cast<size_t>(s.n * s.h * s.w * s.c)), w(static_cast<size_t>(s.k * 9 * s.c)),
      y(static_cast<size_t>(s.n * s.h * s.w * s.k));
  for (size_t i = 0; i < x.size(); ++i) x[i] = static_cast<float>(i * 37 % 101) / 101;
  for (size_t i = 0; i < w.size(); ++i) w[i] = static_cast<float>(i * 53 % 103) / 103 - 0.5f;
  backend.conv2d({ConstTensorRef(x.data(), DType::kFloat32, {s.n, s.h, s.w, s.c})},
                 ConstTensorRef(w.data(), DType::kFloat32, {s.k, 3, 3, s.c}), Conv2dGeometry::same(3), {},
                 TensorRef(y.data(), DType::kFloat32, {s.n, s.h, s.w, s.k}), memory);
  return y;
}

TEST(ConvChoice, ATableStandsBeforeTheRule) {
  const ConvKind kind = ConvKind::of(ConvPass::kForward, DType::kFloat32, kThreeByThree);
  CpuBackend by_rule, direct(ConvWay::kDirect), winograd(ConvWay::kWinograd);
  CpuBackend by_table({}, ConvChoices::parse(kind.text() + " -> direct", "FILE"));
  ASSERT_NE(convolve(direct), convolve(winograd)) << "the ways cannot be told apart by their bits";
  EXPECT_EQ(convolve(by_rule), convolve(winograd));
  EXPECT_EQ(convolve(by_table), convolve(direct));
}

TEST(ConvChoice, TheEnvironmentNamesTheTable) {
  const std::filesystem::path file = std::filesystem::path(testing::TempDir()) / "conv_choices.txt";
  const ConvKind kind = ConvKind::of(ConvPass::kForward, DType::kFloat32, kThreeByThree);
  std::ofstream(file) << kind.text() << " -> onednn\n";
  setenv("IMAGO_CPU_CHOICES", file.c_str(), 1);
  EXPECT_EQ(ConvChoices::from_environment().find(kind), ConvWay::kOneDnn);
  std::filesystem::remove(file);
  EXPECT_THROW(ConvChoices::from_environment(), Error);
  setenv("IMAGO_CPU_CHOICES", "", 1);
  EXPECT_EQ(ConvChoices::from_environment().size(), 0u);
  unsetenv("IMAGO_CPU_CHOICES");
}

}  // namespace
}  // namespace imago
