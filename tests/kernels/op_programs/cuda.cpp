// test_gpu_ops: the op table on a GPU, as it is and as other GPUs would choose among the kernels. Exit 3:
// there is none. With --small_only, the small cases alone: under a tool that slows every instruction down.
#include <gtest/gtest.h>

#include <cstdio>
#include <cstring>

#include "tests/kernels/op_table/op_table.h"

namespace imago::test {

std::vector<BackendUnderTest> gpu_variants(const BackendUnderTest& entry);  // gpu_variants.cpp

static bool small_only = false;

std::vector<BackendUnderTest> backends_under_test() {
  const BackendUnderTest gpu{.backend = cuda_backend(), .small_only = small_only, .on_host_threads = false};
  std::vector<BackendUnderTest> all = gpu_variants(gpu);
  all.insert(all.begin(), gpu);
  return all;
}

}  // namespace imago::test

int main(int argc, char** argv) {
  if (!imago::cuda_backend()) return std::printf("test_gpu_ops: no CUDA device\n"), 3;
  for (int i = 1; i < argc; ++i) imago::test::small_only |= std::strcmp(argv[i], "--small_only") == 0;
  testing::InitGoogleTest(&argc, argv);
  return RUN_ALL_TESTS();
}
