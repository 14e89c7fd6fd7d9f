// Time on a device that runs behind the host.
#pragma once

#include <chrono>

#include "kernels/backend.h"

namespace imago {

/// Seconds from an idle device until it is idle again.
template <class Enqueue>
double seconds_of(Backend& backend, const Enqueue& enqueue) {
  backend.synchronize();
  const auto start = std::chrono::steady_clock::now();
  enqueue();
  backend.synchronize();
  const std::chrono::duration<double> seconds = std::chrono::steady_clock::now() - start;
  return seconds.count();
}

/// A call's, to choose among a few: the first, which loads the kernel, does not count.
template <class Call>
double seconds_to_compare(const Call& call) {
  call();
  return seconds_of(*cuda_backend(), [&] {
    for (int i = 0; i < 5; ++i) call();
  });
}

}  // namespace imago
