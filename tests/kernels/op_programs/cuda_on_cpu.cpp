// The backends that test_cuda_ops runs the op table for: the CUDA kernels in emulation, as several GPUs would
// choose among them.
#include <cstdlib>
#include <memory>

#include "kernels/cuda/cuda_backend.h"
#include "tests/kernels/op_table.h"

namespace imago::test {

namespace {

using cuda_on_cpu::Autotuner;

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

/// A GPU with an autotuner.
class TunedGpu : public cuda_on_cpu::CudaBackend {
 public:
  TunedGpu(const std::string& name, const Autotuner::Settings& settings)
      : CudaBackend(0, settings), name_("cuda_on_cpu_" + name) {}
  const char* name() const override { return name_.c_str(); }

 private:
  std::string name_;
};

bool many_schedules() {  // the table is run for each
  return std::getenv("IMAGO_EMU_SEED") != nullptr;
}

BackendUnderTest emulated(Backend& backend) {
  return {.backend = &backend, .small_only = many_schedules(), .on_host_threads = false, .emulated = true};
}

/// Small cases of the operations that are tuned. First, they are measured: a trial must leave no traces.
/// Then, every candidate is taken in turn; a shape that has fewer takes its last.
std::vector<BackendUnderTest> tuned() {
  constexpr size_t kMostCandidates = 10;
  static std::vector<std::unique_ptr<TunedGpu>> gpus;
  gpus.push_back(std::make_unique<TunedGpu>("measured", Autotuner::Settings{.measures = true, .folder = {}}));
  for (size_t i = 1; i < kMostCandidates; ++i)  // the first is the rule's
    gpus.push_back(std::make_unique<TunedGpu>(
        str("candidate_", i), Autotuner::Settings{.measures = false, .folder = {}, .always = i}));
  std::vector<BackendUnderTest> entries;
  for (const auto& gpu : gpus) {
    entries.push_back(emulated(*gpu));
    entries.back().small_only = true;
    entries.back().ops = {"conv2d", "conv2d_dgrad", "conv2d_wgrad", "group_norm", "group_norm_backward"};
  }
  return entries;
}

}  // namespace

std::vector<BackendUnderTest> backends_under_test() {
  setenv("IMAGO_EMU_MEMORY_MB", "1024", 0);  // "far more than there is" is tried, too
  static SmallGpu ampere(1, 80), hopper(1, 90), hopper_4(4, 90);
  std::vector<BackendUnderTest> all = {emulated(cuda_on_cpu_backend()), emulated(ampere), emulated(hopper),
                                       emulated(hopper_4)};
  if (!many_schedules()) {
    static const std::vector<BackendUnderTest> more = tuned();
    all.insert(all.end(), more.begin(), more.end());
  }
  return all;
}

}  // namespace imago::test
