// The check of the kernels' resources sees what it is for.
#include <gtest/gtest.h>

#include <algorithm>
#include <fstream>
#include <iterator>
#include <sstream>

#include "kernels/error.h"
#include "lab/cuda_resources/occupancy.h"
#include "lab/cuda_resources/resources.h"

namespace imago::cuda_resources {
namespace {

PtxasLog planted() {
  std::ifstream in(IMAGO_PLANTED_LOG);
  return parse_ptxas_log({std::istreambuf_iterator<char>(in), {}}, IMAGO_PLANTED_LOG);
}

testing::AssertionResult has(const std::vector<std::string>& faults, const std::string& text) {
  const auto contains = [&](const std::string& f) { return f.find(text) != std::string::npos; };
  if (std::any_of(faults.begin(), faults.end(), contains)) return testing::AssertionSuccess();
  return testing::AssertionFailure() << "no fault says: " << text;
}

const Launches kLaunches = {
    {"spilling", {{"sm_80", {1024, 0}}, {"sm_90a", {1024, 229376}}, {"sm_120", {1024, 0}}}}};

TEST(CudaResources, PlantedFaultsAreSeen) {
  const std::vector<std::string> faults = faults_of(planted(), kLaunches);
  for (const char* architecture : {"sm_80", "sm_90a", "sm_120"})
    EXPECT_TRUE(has(faults, std::string("spilling on ") + architecture + " spills registers"));
  EXPECT_TRUE(has(faults, "wgmma.mma_async instructions are serialized"));
  EXPECT_TRUE(has(faults, "'setmaxnreg' ignored"));
  EXPECT_TRUE(has(faults, "without_launch_bounds is launched by no case"));
}

TEST(CudaResources, AKernelThatIsLaunchedMustBeAmongTheLogs) {
  EXPECT_TRUE(has(faults_of({}, kLaunches), "spilling is launched, but ptxas has not compiled it"));
}

TEST(CudaResources, AKernelWithoutFaultsHasNone) {
  PtxasLog log = planted();
  std::erase_if(log.kernels, [](const CompiledKernel& k) { return k.name != "spilling"; });
  log.performance_losses.clear();
  for (CompiledKernel& k : log.kernels) k.spill_stores = k.spill_loads = 0;
  EXPECT_EQ(faults_of(log, kLaunches), std::vector<std::string>());
}

TEST(CudaResources, ABlockMustFit) {
  const CompiledKernel large{
      .name = "spilling", .architecture = "sm_90a", .registers = 64, .static_shared = 8192};
  EXPECT_TRUE(has(faults_of({{large}, {}}, kLaunches), "not even one block fits"));
}

TEST(CudaResources, ALogThatBreaksOffIsRefused) {
  EXPECT_THROW(parse_ptxas_log("ptxas info    : Compiling entry function 'f' for 'sm_80'\n", "log"), Error);
}

// Values of NVIDIA's occupancy calculator.
TEST(CudaResources, Occupancy) {
  const Multiprocessor a100 = multiprocessor("sm_80"), h100 = multiprocessor("sm_90a"),
                       rtx50 = multiprocessor("sm_120");
  EXPECT_EQ(blocks_per_multiprocessor(a100, 256, 32, 0), 8);   // 64 warps
  EXPECT_EQ(blocks_per_multiprocessor(a100, 256, 33, 0), 6);   // registers in units of 8 a thread
  EXPECT_EQ(blocks_per_multiprocessor(a100, 128, 255, 0), 2);  // a quarter of the file holds two warps
  EXPECT_EQ(blocks_per_multiprocessor(a100, 384, 168, 0), 1);
  EXPECT_EQ(blocks_per_multiprocessor(a100, 32, 16, 0), 32);           // the limit of blocks
  EXPECT_EQ(blocks_per_multiprocessor(h100, 128, 64, 113 * 1024), 2);  // 2 (113 + 1) KiB of 228
  EXPECT_EQ(blocks_per_multiprocessor(h100, 128, 64, 113 * 1024 + 1), 1);
  EXPECT_EQ(blocks_per_multiprocessor(rtx50, 1024, 32, 0), 1);  // 48 warps
  EXPECT_EQ(blocks_per_multiprocessor(rtx50, 256, 32, 100 * 1024), 0);
}

TEST(CudaResources, NamesAreThoseOfBothCompilers) {
  const char* const nvcc =
      "_ZN5imago4cuda44_GLOBAL__N__c0d15d35_11_resample_cu_188e85e615upsample_kernelI13__nv_"
      "bfloat16Li8EEEvPKT_"
      "PS4_iifNS0_7DivisorE";
  const char* const gcc =
      "_ZN5imago11cuda_on_cpu12_GLOBAL__N_115upsample_kernelINS0_13__nv_bfloat16ELi8EEEvPKT_PS4_iifNS0_"
      "7DivisorE";
  EXPECT_EQ(readable_name(nvcc), "upsample_kernel<bf16,8>");
  EXPECT_EQ(readable_name(gcc), "upsample_kernel<bf16,8>");
}

}  // namespace
}  // namespace imago::cuda_resources
