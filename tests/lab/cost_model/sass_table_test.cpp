// The table of instructions, as the cost model reads it.
#include "lab/cost_model/sass_table.h"

#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>

#include "kernels/error.h"

namespace imago {
namespace {

struct SassFile : testing::Test {
  const std::string file = testing::TempDir() + "/sass.md";
  ~SassFile() override { std::filesystem::remove(file); }
  SassTable table(const std::string& rows) {
    std::ofstream(file)
        << "# Title\n\n| kernel | loop | instructions | HGMMA | LDG 16 |\n|---|---:|---:|---:|---:|\n"
        << rows;
    return SassTable(file);
  }
};

TEST_F(SassFile, LoopsGoByWhatTheyHold) {
  const SassTable t = table(
      "| product<256, A<b> > | all | 300 | 8 | 3 |\n"
      "| product<256, A<b> > | 1 | 120 | 8 | 1 |\n"
      "| product<256, A<b> > | 2 | 50 | 0 | 2 |\n"
      "| product<256, A<b> > | end | 90 | 0 | 0 |\n"
      "| product<128> | 1 | 60 | 4 | 0 |\n");
  EXPECT_EQ(t.loop("product<256", "HGMMA"), 120);
  EXPECT_EQ(t.loop("product<256", "LDG 16"), 120);  // the longest
  EXPECT_EQ(t.loop("product<256", "LDG 16", "HGMMA"), 50);
  EXPECT_EQ(t.in_loop("product<256", "LDG 16", "LDG 16", "HGMMA"), 2);
  EXPECT_EQ(t.end("product<256"), 90);
  EXPECT_EQ(t.loop("product<128", "HGMMA"), 60);
  EXPECT_THROW(t.end("product<128"), Error);
  EXPECT_THROW(t.loop("product<128", "LDG 16"), Error);
  EXPECT_THROW(t.loop("product<128", "MUFU"), Error);
}

TEST_F(SassFile, OtherFilesAreRefused) {
  EXPECT_THROW(table("| product | 1 | 120 | 8 |\n"), Error);
  EXPECT_THROW(table("| product | 1 | 120 | 8 | many |\n"), Error);
  EXPECT_THROW(table(""), Error);
  EXPECT_THROW(SassTable(file + ".missing"), Error);
}

// Whatever the model asks for is there.
TEST(SassTable, OfThisTreeHasTheHotLoops) {
  for (const char* kernel : {"conv2d_wgmma<256, false", "conv2d_wgmma<256, true", "conv2d_wgrad_wgmma<128>",
                             "conv2d_wgrad_wgmma<64>"}) {
    EXPECT_GT(sass_table().loop(kernel, "HGMMA"), 20) << kernel;
    EXPECT_GT(sass_table().end(kernel), 100) << kernel;
  }
}

}  // namespace
}  // namespace imago
