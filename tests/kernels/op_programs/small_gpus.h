// The same device as several smaller ones. A GPU with few multiprocessors is filled by any shape: the kernels
// choose large tiles and split no sums, as on a large GPU they do for large shapes, which would be slow to
// check. And a GPU that passes for an older one takes the kernels for older ones.
#pragma once

#include <memory>

#include "kernels/cuda/cuda_backend.h"
#include "tests/kernels/op_table.h"

namespace imago::IMAGO_CUDA_NAMESPACE {

class SmallGpu : public CudaBackend {
 public:
  SmallGpu(int sms, int capability) {
    gpu_.sms = sms;
    gpu_.capability = capability;
    name_ = str(CudaBackend::name(), "_sm_", capability, "_x", sms);
  }
  const char* name() const override { return name_.c_str(); }

 private:
  std::string name_;
};

/// With one multiprocessor and the first tensor cores for bfloat16, and with 1 and 4 of `capability`.
inline std::vector<Backend*> small_gpus(int capability) {
  static std::vector<std::unique_ptr<SmallGpu>> gpus;
  if (gpus.empty()) {
    gpus.push_back(std::make_unique<SmallGpu>(1, 80));
    if (capability > 80) gpus.push_back(std::make_unique<SmallGpu>(1, capability));
    gpus.push_back(std::make_unique<SmallGpu>(4, capability));
  }
  std::vector<Backend*> backends;
  for (const auto& gpu : gpus) backends.push_back(gpu.get());
  return backends;
}

}  // namespace imago::IMAGO_CUDA_NAMESPACE
