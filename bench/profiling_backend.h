// How long every operation takes, in which layer and on which shapes; the plan backend
// says how much work it was.
#pragma once

#include <time.h>

#include <chrono>
#include <map>
#include <string>

#include "engine/autograd/watched_backend.h"
#include "kernels/plan/plan_backend.h"

namespace imago {

/// CPU time of this process, all threads together. On a machine that others use too it says more than the
/// clock on the wall, as long as idle threads sleep (OMP_WAIT_POLICY=PASSIVE; those of our own loops look out
/// for the next one for 0.1 ms before they do).
inline double cpu_seconds() {
  timespec t{};
  clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &t);
  return static_cast<double>(t.tv_sec) + 1e-9 * static_cast<double>(t.tv_nsec);
}

/// Every operation is followed by a synchronize(), so on a device that runs behind the host times are
/// true but overlap is lost.
class ProfilingBackend final : public WatchedBackend {
 public:
  struct Entry {
    double seconds = 0, cpu_seconds = 0;
    int64_t calls = 0, flops = 0, bytes = 0;

    Entry& operator+=(const Entry& e) {
      seconds += e.seconds, cpu_seconds += e.cpu_seconds;
      calls += e.calls, flops += e.flops, bytes += e.bytes;
      return *this;
    }
  };
  struct Key {
    std::string layer, operation, shapes;  // "conv_in", "conv2d", "[16,32,32,3] w [64,3,3,3]"
    auto operator<=>(const Key&) const = default;
  };

  using WatchedBackend::WatchedBackend;
  const std::map<Key, Entry>& entries() const { return entries_; }
  void reset() { entries_.clear(); }

 private:
  /// Runs the operation on the inner backend, then on the plan, which looks at shapes alone.
  void watch(const Operation& operation, const Call& call) override {
    using Clock = std::chrono::steady_clock;
    inner().synchronize();
    const auto start = Clock::now();
    const double cpu_start = cpu_seconds();
    call(inner());
    inner().synchronize();
    const std::chrono::duration<double> seconds = Clock::now() - start;
    const double cpu = cpu_seconds() - cpu_start;
    reset_plan_counts();
    call(plan_backend());
    const PlanCount& work = plan_counts().total;
    entries_[{operation.layer, operation.name, operation.shapes()}] +=
        {seconds.count(), cpu, 1, work.flops, work.bytes};
  }

  std::map<Key, Entry> entries_;
};

}  // namespace imago
