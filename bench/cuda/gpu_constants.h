// The constants of the cost model (lab/cost_model/gpu_model.h), measured. Compiled for a GPU, and for the
// emulator, where the times say nothing and only the way to them is tested.
#pragma once

#include <cstddef>
#include <functional>
#include <string>

namespace imago {

/// In SI units: a field of GpuModel by its name.
struct GpuConstant {
  std::string name;
  double value = 0;
  std::string unit;
};

/// How much to do for each. The buffers are powers of two of bytes.
struct ConstantsWork {
  int multiprocessors = 0;                // 0: all that there are
  size_t copied_bytes = size_t{1} << 30;  // many times the largest L2
  size_t l2_bytes = size_t{16} << 20;     // fits into any
  size_t chased_bytes = size_t{256} << 20;
  int chase_steps = 1 << 14;
  int repeats = 20;
  int launches = 1000;     // of the graph whose gaps are measured
  int products = 1 << 20;  // of each warp: a second of heat
};

namespace cuda {
/// Calls `found` with each constant as soon as it is known.
void measure_gpu_constants(const ConstantsWork& work, const std::function<void(const GpuConstant&)>& found);
}  // namespace cuda
namespace cuda_on_cpu {
void measure_gpu_constants(const ConstantsWork& work, const std::function<void(const GpuConstant&)>& found);
}  // namespace cuda_on_cpu

}  // namespace imago
