// Every case of ptx_cases.h on the emulator, against plain loops. The seeds come from the
// environment (see CMakeLists.txt).
#include <gtest/gtest.h>

#include "tests/lab/cuda_on_cpu/ptx_cases.h"

namespace imago::cuda_on_cpu {
namespace {

class Ptx : public testing::TestWithParam<size_t> {};

const std::vector<PtxCase>& cases() {
  static const std::vector<PtxCase> all = all_ptx_cases();
  return all;
}

TEST_P(Ptx, GivesWhatPlainLoopsGive) {
  const PtxCase& c = cases()[GetParam()];
  const Words got = c.run(), wanted = c.expected();
  ASSERT_EQ(got.size(), wanted.size()) << c.name;
  for (size_t i = 0; i < got.size(); ++i) {
    const uint32_t distance = got[i] > wanted[i] ? got[i] - wanted[i] : wanted[i] - got[i];
    ASSERT_LE(distance, c.ulps) << c.name << ", word " << i << ": " << std::hex << got[i] << ", not "
                                << wanted[i] << " (" << __uint_as_float(got[i]) << ", "
                                << __uint_as_float(wanted[i]) << ")";
  }
}

INSTANTIATE_TEST_SUITE_P(All, Ptx, testing::Range<size_t>(0, cases().size()), [](const auto& info) {
  std::string name = cases()[info.param].name;
  for (char& ch : name)
    if (!isalnum(static_cast<unsigned char>(ch))) ch = '_';
  return name;
});

}  // namespace
}  // namespace imago::cuda_on_cpu
