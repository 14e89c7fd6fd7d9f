// The backends that test_cuda_ops runs the op table for: the CUDA kernels in emulation, as several GPUs would
// choose among them.
#include <cstdlib>

#include "kernels/cuda/cuda_backend.h"
#include "tests/kernels/op_table.h"

namespace imago::test {

namespace {

/// A GPU with few multiprocessors is filled by any shape: the kernels choose large tiles and split no sums.
class SmallGpu : public cuda_on_cpu::CudaBackend {
 public:
  SmallGpu(int sms, int capability) : name_(str("cuda_on_cpu_sm_", capability, "_x", sms)) {
    gpu_.sms = sms;
    gpu_.capability = capability;
  }
  const char* name() const override { return name_.c_str(); }

 private:
  std::string name_;
};

BackendUnderTest emulated(Backend& backend) {
  const bool small_only = std::getenv("IMAGO_EMU_SEED") != nullptr;  // many runs of the shuffled schedules
  return {.backend = &backend, .small_only = small_only, .on_host_threads = false, .emulated = true};
}

}  // namespace

std::vector<BackendUnderTest> backends_under_test() {
  setenv("IMAGO_EMU_MEMORY_MB", "1024", 0);  // "far more than there is" is tried, too
  static SmallGpu ampere(1, 80), hopper(1, 90), hopper_4(4, 90);
  return {emulated(cuda_on_cpu_backend()), emulated(ampere), emulated(hopper), emulated(hopper_4)};
}

}  // namespace imago::test
