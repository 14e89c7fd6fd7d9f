// How long training steps take, where they overlap and their results come later.
#pragma once

#include <chrono>

namespace imago {

/// Sums up the time within steps, without what lies between them (checkpoints, previews).
class StepClock {
 public:
  /// A step begins: what has gone by since the last add() does not count.
  void start() { mark_ = Clock::now(); }
  /// Counts the time since start() or the last add().
  void add() {
    const Clock::time_point now = Clock::now();
    sum_ += now - mark_;
    mark_ = now;
  }
  /// The seconds counted since the last take().
  double take() {
    const double seconds = sum_.count();
    sum_ = {};
    return seconds;
  }

 private:
  using Clock = std::chrono::steady_clock;
  Clock::time_point mark_;
  std::chrono::duration<double> sum_{};
};

}  // namespace imago
