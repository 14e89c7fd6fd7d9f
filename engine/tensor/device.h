// Devices, chosen at run time, and the backend that serves each.
#pragma once

#include <ostream>
#include <string>

#include "kernels/backend.h"

namespace imago {

enum class Device { kCpu, kCuda, kReference, kPlan, kCudaOnCpu };

const char* name_of(Device device);  // "cpu", "cuda", ...
inline std::ostream& operator<<(std::ostream& out, Device device) {
  return out << name_of(device);
}

/// "auto" (CUDA where there is a device, else the CPU), "cpu" or "cuda". Throws bad input for anything else,
/// and for "cuda" where there is no CUDA device.
Device parse_device(const std::string& name);

/// The backend of a device; throws bad input where this build or machine has none.
Backend& backend_of(Device device);

/// Makes a backend reachable that the engine does not link itself (CUDA on CPU, in tests).
void register_backend(Device device, Backend& backend);

}  // namespace imago
