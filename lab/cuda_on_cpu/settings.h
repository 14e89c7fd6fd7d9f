// The emulator's environment variables, read once.
#pragma once

#include <cstdint>

namespace imago::cuda_on_cpu::emu {

struct Settings {
  uint64_t seed;  // IMAGO_EMU_SEED: 0 (or unset) is the plain schedule
  int threads;    // IMAGO_EMU_THREADS: OS threads for blocks; unset: the machine's
  bool eager;     // IMAGO_EMU_STREAMS=eager: work runs when it is enqueued, not when it is waited for
  int compute_capability;  // IMAGO_EMU_DEVICE=sm_80|sm_90|sm_120: what the device claims to be; unset: 90
  static const Settings& get();
};

}  // namespace imago::cuda_on_cpu::emu
