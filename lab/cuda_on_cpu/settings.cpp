#include "lab/cuda_on_cpu/settings.h"

#include <algorithm>
#include <cstdlib>
#include <string>
#include <thread>

#include "kernels/error.h"
#include "lab/cuda_on_cpu/sanitizer_hooks.h"

namespace imago::cuda_on_cpu::emu {
namespace {

std::string env(const char* name) {
  const char* v = std::getenv(name);
  return v ? v : "";
}

uint64_t number(const char* name, uint64_t otherwise) {
  const std::string v = env(name);
  if (v.empty()) return otherwise;
  if (v.find_first_not_of("0123456789") != std::string::npos) bad_input(name, "=", v, " is not a number");
  return std::stoull(v);
}

Settings read() {
  Settings s;
  s.seed = number("IMAGO_EMU_SEED", 0);
  // The trace counts in one thread. TSan gets two even on one core: blocks of different threads are unordered
  // for it, so it sees races between blocks.
  const unsigned cores = std::clamp(std::thread::hardware_concurrency(), under_tsan() ? 2u : 1u, 16u);
  s.threads = static_cast<int>(number("IMAGO_EMU_THREADS", imago_trace_access ? 1 : cores));
  if (s.threads < 1 || s.threads > 256) bad_input("IMAGO_EMU_THREADS must be 1..256");
  const std::string streams = env("IMAGO_EMU_STREAMS"), device = env("IMAGO_EMU_DEVICE");
  if (!streams.empty() && streams != "eager" && streams != "lazy")
    bad_input("IMAGO_EMU_STREAMS=", streams, " is neither eager nor lazy");
  s.eager = streams == "eager";
  if (!device.empty() && device != "sm_80" && device != "sm_90" && device != "sm_120")
    bad_input("IMAGO_EMU_DEVICE=", device, " is none of sm_80, sm_90, sm_120");
  s.compute_capability = device.empty() ? 90 : std::stoi(device.substr(3));
  return s;
}

}  // namespace

const Settings& Settings::get() {
  static const Settings settings = read();
  return settings;
}

}  // namespace imago::cuda_on_cpu::emu
