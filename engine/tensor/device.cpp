#include "engine/tensor/device.h"

#include <array>

namespace imago {

namespace {

constexpr int kDevices = 5;

std::array<Backend*, kDevices>& registry() {
  static std::array<Backend*, kDevices> backends = [] {
    std::array<Backend*, kDevices> b{};
    b[static_cast<int>(Device::kCpu)] = &cpu_backend();
    b[static_cast<int>(Device::kReference)] = &reference_backend();
    b[static_cast<int>(Device::kPlan)] = &plan_backend();
    b[static_cast<int>(Device::kCuda)] = cuda_backend();
    return b;
  }();
  return backends;
}

}  // namespace

const char* name_of(Device device) {
  constexpr const char* kNames[kDevices] = {"cpu", "cuda", "reference", "plan", "cuda_on_cpu"};
  return kNames[static_cast<int>(device)];
}

Device parse_device(const std::string& name) {
  const bool have_cuda = registry()[static_cast<int>(Device::kCuda)] != nullptr;
  if (name == "auto") return have_cuda ? Device::kCuda : Device::kCpu;
  if (name == "cpu") return Device::kCpu;
  if (name == "cuda") {
    if (!have_cuda)
      bad_input("cuda: there is no CUDA device on this machine, or this build has no CUDA; use cpu or auto");
    return Device::kCuda;
  }
  bad_input(name, ": expected auto, cpu or cuda");
}

Backend& backend_of(Device device) {
  Backend* backend = registry()[static_cast<int>(device)];
  if (!backend) bad_input("this build or machine has no device \"", device, "\"");
  return *backend;
}

void register_backend(Device device, Backend& backend) {
  registry()[static_cast<int>(device)] = &backend;
}

}  // namespace imago
