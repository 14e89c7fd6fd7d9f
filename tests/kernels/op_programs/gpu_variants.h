// One device as several GPUs, which choose differently among the kernels. Compiled for a GPU and
// for the emulator.
#pragma once

#include <memory>

#include "kernels/cuda/runtime/autotune.h"
#include "kernels/cuda/runtime/cuda_backend.h"
#include "tests/kernels/op_table/op_table.h"

namespace imago::IMAGO_CUDA_NAMESPACE {

/// A GPU with few multiprocessors is filled by any shape: the kernels choose large tiles and split no sums.
/// One that passes for an older one takes the kernels for older ones.
class SmallGpu : public CudaBackend {
 public:
  SmallGpu(int sms, int capability) : name_(str(CudaBackend::name(), "_sm_", capability, "_x", sms)) {
    gpu_.sms = sms;
    gpu_.capability = capability;
  }
  const char* name() const override { return name_.c_str(); }

 private:
  std::string name_;
};

/// A GPU with an autotuner.
class TunedGpu : public CudaBackend {
 public:
  TunedGpu(const std::string& name, const TuningSettings& settings)
      : CudaBackend(0, settings), name_(str(CudaBackend::name(), "_", name)) {}
  const char* name() const override { return name_.c_str(); }

 private:
  std::string name_;
};

/// Like `entry`, on a small GPU with the first tensor cores for bfloat16, and on two of `capability`.
inline std::vector<test::BackendUnderTest> small_gpus(int capability, test::BackendUnderTest entry) {
  static std::vector<std::unique_ptr<SmallGpu>> gpus;
  if (gpus.empty()) {
    gpus.push_back(std::make_unique<SmallGpu>(1, 80));
    if (capability != 80) gpus.push_back(std::make_unique<SmallGpu>(1, capability));
    gpus.push_back(std::make_unique<SmallGpu>(4, capability));
  }
  std::vector<test::BackendUnderTest> entries;
  for (const auto& gpu : gpus) {
    entry.backend = gpu.get();
    entries.push_back(entry);
  }
  return entries;
}

/// Like `entry`, in small cases of the operations that are tuned. First, they are measured: a trial must
/// leave no traces. Then, every candidate is taken in turn; a shape that has fewer takes its last.
inline std::vector<test::BackendUnderTest> tuned_gpus(test::BackendUnderTest entry) {
  constexpr size_t kMostCandidates = 10;
  static std::vector<std::unique_ptr<TunedGpu>> gpus;
  if (gpus.empty()) {
    gpus.push_back(std::make_unique<TunedGpu>("measured", TuningSettings{.measures = true, .folder = {}}));
    for (size_t i = 1; i < kMostCandidates; ++i)  // the first is the rule's
      gpus.push_back(std::make_unique<TunedGpu>(
          str("candidate_", i), TuningSettings{.measures = false, .folder = {}, .always = i}));
  }
  entry.small_only = true;
  entry.ops = {"conv2d", "conv2d_dgrad", "conv2d_wgrad", "group_norm", "group_norm_backward"};
  std::vector<test::BackendUnderTest> entries;
  for (const auto& gpu : gpus) {
    entry.backend = gpu.get();
    entries.push_back(entry);
  }
  return entries;
}

}  // namespace imago::IMAGO_CUDA_NAMESPACE
