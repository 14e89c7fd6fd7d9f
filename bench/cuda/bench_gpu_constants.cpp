// bench_gpu_constants: what the cost model assumes of this GPU, measured, one JSON object a line as it is
// found.
#include <cstdio>
#include <nlohmann/json.hpp>

#include "apps/common/run_app.h"
#include "bench/cuda/gpu_constants.h"

int main() {
  return imago::run_app("bench_gpu_constants", [] {
    imago::cuda::measure_gpu_constants({}, [](const imago::GpuConstant& c) {
      const nlohmann::ordered_json line{{"constant", c.name}, {"value", c.value}, {"unit", c.unit}};
      std::printf("%s\n", line.dump().c_str());
      std::fflush(stdout);
    });
    return 0;
  });
}
