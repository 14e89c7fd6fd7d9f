// Being asked to stop: Ctrl-C, a job scheduler's SIGTERM, a terminal that closes.
#pragma once

namespace imago {

/// While alive, the first SIGINT, SIGTERM or SIGHUP is only noted, for the program to end in good order; a
/// second one ends it at once with exit code 128 + signal. Signals that the program was started to ignore
/// (nohup) stay ignored. One at a time.
class StopSignals {
 public:
  StopSignals();
  StopSignals(const StopSignals&) = delete;
  StopSignals& operator=(const StopSignals&) = delete;
  ~StopSignals();

  /// The number of the signal that came, or 0.
  int received() const;
};

const char* name_of_signal(int signal);  // "SIGINT"

}  // namespace imago
