// The backends that test_kernels runs the op table for.
#include "kernels/cpu/cpu_backend.h"
#include "tests/kernels/op_table/op_table.h"

namespace imago::test {

std::vector<BackendUnderTest> backends_under_test() {
  using Way = CpuBackend::Convolution;
  static CpuBackend onednn(Way::kOneDnn), direct(Way::kDirect), winograd(Way::kWinograd);
  return {{.backend = &reference_backend()},
          {.backend = &cpu_backend()},
          {.backend = &onednn},
          {.backend = &direct},
          {.backend = &winograd}};
}

}  // namespace imago::test
