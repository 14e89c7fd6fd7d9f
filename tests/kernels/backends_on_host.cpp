// The backends that test_kernels runs the op table for.
#include "tests/kernels/op_table.h"

namespace imago::test {

std::vector<BackendUnderTest> backends_under_test() {
  return {{.backend = &reference_backend()}, {.backend = &cpu_backend()}};
}

}  // namespace imago::test
