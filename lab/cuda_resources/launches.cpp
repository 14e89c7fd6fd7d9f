#include "lab/cuda_resources/launches.h"

#include <algorithm>
#include <vector>

#include "kernels/cuda/runtime/cuda_backend.h"
#include "lab/cuda_on_cpu/launch.h"
#include "lab/cuda_resources/ptxas_log.h"
#include "lab/cuda_resources/symbols.h"
#include "tests/kernels/op_table/op_table.h"

namespace imago {

/// The suite comes with the table; here it runs for nobody.
std::vector<test::BackendUnderTest> test::backends_under_test() {
  return {};
}

namespace cuda_resources {

namespace {

/// A GPU as launchers see it.
struct KindOfGpu {
  const char* architecture;
  int capability, sms;
  size_t shared_bytes;  // that a block can have
};
// Beside the real ones, GPUs of few multiprocessors, which any shape fills: large tiles.
constexpr KindOfGpu kGpus[] = {{"sm_80", 80, 108, 163 << 10},  {"sm_80", 80, 1, 163 << 10},
                               {"sm_90a", 90, 132, 227 << 10}, {"sm_90a", 90, 4, 227 << 10},
                               {"sm_90a", 90, 1, 227 << 10},   {"sm_120", 120, 170, 99 << 10},
                               {"sm_120", 120, 1, 99 << 10}};

class OtherGpu : public cuda_on_cpu::CudaBackend {
 public:
  explicit OtherGpu(const KindOfGpu& kind) {
    gpu_.sms = kind.sms;
    gpu_.capability = kind.capability;
    gpu_.shared_bytes = kind.shared_bytes;
  }
};

}  // namespace

Launches launches_of_op_table() {
  const Symbols symbols;
  Launches launches;
  for (const KindOfGpu& kind : kGpus) {
    OtherGpu gpu(kind);
    cuda_on_cpu::emu::observe_launches([&](const cuda_on_cpu::emu::LaunchRequest& request) {
      Launched& l = launches[readable_name(symbols.name_of(request.kernel))][kind.architecture];
      const auto& b = request.block;
      l.threads = std::max(l.threads, static_cast<int>(b.x * b.y * b.z));
      l.dynamic_shared = std::max(l.dynamic_shared, request.shared_bytes);
    });
    for (const test::OpRow& row : test::op_table())
      for (const test::OpCase& c : row.cases)
        for (DType type : row.types) {
          if (!gpu.supports(type)) continue;
          test::Bench bench({.backend = &gpu, .activations = type, .rounded_as = type, .seed = c.name});
          c.run(bench);
        }
    gpu.synchronize();
    cuda_on_cpu::emu::observe_launches(nullptr);
  }
  return launches;
}

}  // namespace cuda_resources

}  // namespace imago
