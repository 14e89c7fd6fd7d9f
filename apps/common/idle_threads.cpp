#include "apps/common/idle_threads.h"

#include <chrono>
#include <cstdlib>
#include <system_error>
#include <thread>

namespace imago {

// libgomp spins for 300,000 rounds (milliseconds) at every barrier; beside a busy neighbour the spinning
// thread burns the very time slice that the late one needs, and a step can become many times slower. Its own
// remedy is OMP_WAIT_POLICY=passive, but that is read before main() and before any code of ours can set it.
// It has a second rule, though: while a process has more OpenMP threads than cores, it spins 1000 rounds
// only. So one idle team of two, parked for good on a thread of its own, is enough to tip the balance. It
// costs no time: both threads sleep.
void keep_idle_threads_asleep() {
  if (std::getenv("OMP_WAIT_POLICY") || std::getenv("GOMP_SPINCOUNT")) return;
  try {
    std::thread([] {
      int size = 0;
#pragma omp parallel num_threads(2) reduction(+ : size)
      size += 1;
      while (size > 0) std::this_thread::sleep_for(std::chrono::hours(24));
    }).detach();
  } catch (const std::system_error&) {
    // No thread to spare: slower beside neighbours, nothing else.
  }
}

}  // namespace imago
