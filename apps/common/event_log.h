// What a training run tells TensorBoard.
#pragma once

#include "engine/image/image.h"
#include "engine/report/event_file.h"
#include "models/report/metrics.h"

namespace imago {

/// Curves and samples under the tags of train_unconditional.py (loss, lr, ema_decay, test_samples), and
/// grad_norm and loss_q1 ... loss_q4 beside them.
class EventLog {
 public:
  /// steps_done: of the run so far; 0 starts anew.
  EventLog(const std::filesystem::path& folder, int64_t steps_done)
      : events_(folder, steps_done > 0 ? steps_done + 1 : 0) {}

  /// What was measured; the rest of the row is left out.
  void write(const MetricsRow& row);
  void write(int64_t step, const Image& samples);

 private:
  EventFileWriter events_;
};

}  // namespace imago
