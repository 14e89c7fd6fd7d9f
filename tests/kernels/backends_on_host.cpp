// The backends that test_kernels runs the op table for.
#include "kernels/cpu/cpu_backend.h"
#include "tests/kernels/op_table/op_table.h"

namespace imago::test {

std::vector<BackendUnderTest> backends_under_test() {
  static CpuBackend onednn(cpu::ConvWay::kOneDnn), direct(cpu::ConvWay::kDirect),
      winograd(cpu::ConvWay::kWinograd);
  constexpr double kWinograds = 2;  // see kernels/cpu/convolution/winograd.h; Winograd.* measures it
  return {{.backend = &reference_backend()},
          {.backend = &cpu_backend(), .convolution_noise = kWinograds},
          {.backend = &onednn},
          {.backend = &direct},
          {.backend = &winograd, .convolution_noise = kWinograds}};
}

}  // namespace imago::test
