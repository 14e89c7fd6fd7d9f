// The backends that test_cuda_ops runs the op table for: the CUDA kernels in emulation, as several GPUs would
// choose among them.
#include <cstdlib>

#include "kernels/cuda/cuda_backend.h"
#include "tests/kernels/op_table.h"

namespace imago::test {

namespace {

/// A GPU with one multiprocessor is filled by any shape: the kernels choose their largest tiles and no splits.
class OneMultiprocessor : public cuda_on_cpu::CudaBackend {
 public:
  explicit OneMultiprocessor(int capability) : name_(str("cuda_on_cpu_one_sm_", capability)) {
    gpu_.sms = 1;
    gpu_.capability = capability;
  }
  const char* name() const override { return name_.c_str(); }

 private:
  std::string name_;
};

BackendUnderTest emulated(Backend& backend) {
  return {.backend = &backend, .small_only = true, .on_host_threads = false};
}

}  // namespace

std::vector<BackendUnderTest> backends_under_test() {
  setenv("IMAGO_EMU_MEMORY_MB", "1024", 0);  // "far more than there is" is tried, too
  static OneMultiprocessor ampere(80), hopper(90);
  return {emulated(cuda_on_cpu_backend()), emulated(ampere), emulated(hopper)};
}

}  // namespace imago::test
