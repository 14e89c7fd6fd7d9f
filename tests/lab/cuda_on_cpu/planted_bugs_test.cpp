// Every planted bug must be caught, and the same kernel without it must pass: plain, with ASan + UBSan, and
// with TSan, in the plain schedule and in shuffled ones. The programs are planted_bugs.cu, built three times.
#include <gtest/gtest.h>

#include <array>
#include <cstdio>
#include <regex>
#include <string>

namespace imago {
namespace {

struct Planted {
  const char* name;
  const char* program;     // which build catches it: "" (plain), "_asan" or "_tsan"
  const char* report;      // a regular expression for what is said
  bool every_seed = true;  // false: only some schedules expose it
};

// "wrong result": nobody said a word, but NaN or stale data reached the output, as it would reach a test
// of the kernel.
const Planted kBugs[] = {
    {"missing_barrier", "", "wrong result"},
    {"missing_barrier", "_tsan",
     "data race[^]*planted_bugs.cu:[^]*data race|data race[^]*reverse .*planted_bugs.cu"},
    {"missing_second_barrier", "_tsan", "data race[^]*second_barrier"},
    {"missing_syncwarp", "", "wrong result"},
    {"missing_syncwarp", "_tsan", "data race[^]*reverse_in_warp"},
    {"divergent_barrier", "",
     "deadlock[^]*threads 0-95: waits in __syncthreads, planted_bugs.cu:\\d+[^]*threads 96-127: returned",
     false},
    {"divergent_barrier", "", "deadlock"},
    {"two_barriers", "", "other threads of this block wait in __syncthreads at planted_bugs.cu:\\d+"},
    {"mixed_collectives", "",
     "lanes of one warp meet in different operations: .*__shfl_.*at planted_bugs.cu:\\d+"},
    {"out_of_bounds_store", "", "out-of-bounds store: byte 512 of a device allocation of 512 bytes"},
    {"out_of_bounds_store", "_asan", "AddressSanitizer[^]*out_of_bounds_store .*planted_bugs.cu"},
    {"out_of_bounds_shared", "", "out-of-bounds store: byte 512 of 'tile', which has 512 bytes"},
    {"out_of_bounds_shared", "_asan", "index 128 out of bounds|AddressSanitizer[^]*out_of_bounds_shared"},
    {"misaligned_row", "", "ldmatrix: the row address .* not 16-byte aligned.*planted_bugs.cu"},
    {"misaligned_vector", "_asan", "planted_bugs.cu:\\d+:\\d+: runtime error: .*misaligned address"},
    {"race_between_blocks", "_tsan", "data race[^]*race_between_blocks"},
    {"wait_off_by_one", "", "wrong result"},
    {"copies_in_order", "", "wrong result", false},
    {"other_barrier", "", "wrong result|mbarrier.arrive", false},
    {"slot_of_a_warp", "", "wrong result|deadlock", false},
    {"early_release", "", "an operand in shared memory changed while the product was in flight"},
    {"wrong_parity", "", "deadlock[^]*waits in mbarrier.try_wait, planted_bugs.cu:\\d+"},
    {"too_few_bytes", "", "in flight|mbarrier|wrong result"},
    {"missing_wgmma_fence", "", "no wgmma.fence"},
    {"missing_mbarrier_fence", "", "no fence.mbarrier_init"},
    {"overwritten_mbarrier", "", "has been overwritten"},
    {"missing_proxy_fence_store", "", "no fence.proxy.async in between"},
    {"missing_proxy_fence_wgmma", "", "no fence.proxy.async in between"},
    {"source_reused_too_early", "", "bulk store"},
    {"missing_synchronize", "", "wrong result"},
    {"missing_event_wait", "", "wrong result"},
    {"host_pointer", "", "points to ordinary host memory"},
};

struct Outcome {
  std::string output;
  bool success;
};

Outcome run(const std::string& program, const std::string& arguments, int seed) {
  const std::string command = "IMAGO_EMU_SEED=" + std::to_string(seed) +
                              " UBSAN_OPTIONS=halt_on_error=1 timeout 120 " + IMAGO_PLANTED_BUGS + program +
                              " " + arguments + " 2>&1";
  Outcome outcome;
  FILE* pipe = popen(command.c_str(), "r");
  std::array<char, 4096> buffer;
  for (size_t n; (n = fread(buffer.data(), 1, buffer.size(), pipe)) > 0;)
    outcome.output.append(buffer.data(), n);
  outcome.success = pclose(pipe) == 0;
  return outcome;
}

class PlantedBug : public testing::TestWithParam<Planted> {};

TEST_P(PlantedBug, IsCaught) {
  const Planted& bug = GetParam();
  int caught = 0;
  const int seeds = *bug.program ? 1 : 5;  // sanitized runs are slow, and do not depend on luck
  for (int seed = 0; seed < seeds; ++seed) {
    const Outcome o = run(bug.program, bug.name, seed);
    const bool seen = !o.success && std::regex_search(o.output, std::regex(bug.report));
    caught += seen;
    if (bug.every_seed) {
      EXPECT_TRUE(seen) << "seed " << seed << " said\n" << o.output;
    }
  }
  EXPECT_GT(caught, 0);
}

TEST_P(PlantedBug, IsNotSeenWhereThereIsNone) {
  const Planted& bug = GetParam();
  const int seeds = *bug.program ? 1 : 5;
  for (int seed = 0; seed < seeds; ++seed) {
    const Outcome o = run(bug.program, std::string(bug.name) + " fixed", seed);
    EXPECT_TRUE(o.success && o.output == "right result\n") << "seed " << seed << " said\n" << o.output;
  }
}

INSTANTIATE_TEST_SUITE_P(All, PlantedBug, testing::ValuesIn(kBugs), [](const auto& info) {
  return std::string(info.param.name) + (*info.param.program ? info.param.program : "_plain") + "_" +
         std::to_string(info.index);
});

// No sanitizer may take a correct kernel for a wrong one: the pipelines with TMA, mbarrier and wgmma are
// the hard ones.
TEST(Sanitizers, AcceptCorrectPipelines) {
  for (const char* program : {"_asan", "_tsan"})
    for (const char* kernel : {"early_release", "wait_off_by_one", "missing_proxy_fence_store",
                               "missing_proxy_fence_wgmma", "misaligned_row", "missing_event_wait"})
      for (int seed : {0, 3}) {
        const Outcome o = run(program, std::string(kernel) + " fixed", seed);
        EXPECT_TRUE(o.success && o.output == "right result\n") << program << " " << kernel << " said\n"
                                                               << o.output;
      }
}

}  // namespace
}  // namespace imago
