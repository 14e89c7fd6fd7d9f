// One part of a longer run: a bar of its own, and the place where a signal ends it.
#pragma once

#include <cstdint>
#include <limits>
#include <string>

#include "apps/common/stop_signals.h"
#include "engine/report/progress.h"

namespace imago {

/// Thrown out of a stage to leave the run: this signal came.
struct Interrupted {
  int signal;
};

class Stage {
 public:
  Stage(const StopSignals& signals, const std::string& label, const std::string& unit, int64_t total)
      : signals_(signals), progress_(total, 0, look(label, unit)) {}
  /// `count` more are done. Throws Interrupted after a signal.
  void advance(int64_t count = 1) {
    progress_.update(done_ += count, std::numeric_limits<double>::quiet_NaN(), count);
    if (signals_.received()) throw Interrupted{signals_.received()};
  }

 private:
  static Progress::Options look(const std::string& label, const std::string& unit) {
    Progress::Options options;
    options.label = label;
    options.unit = unit;
    return options;
  }
  const StopSignals& signals_;
  Progress progress_;
  int64_t done_ = 0;
};

}  // namespace imago
