#include "apps/common/stop_signals.h"

#include <signal.h>
#include <unistd.h>

namespace imago {

namespace {

constexpr int kSignals[] = {SIGINT, SIGTERM, SIGHUP};
volatile sig_atomic_t noted = 0;
struct sigaction before[3];

void note(int signal) {
  if (noted != 0) _exit(128 + signal);
  noted = signal;
}

}  // namespace

StopSignals::StopSignals() {
  noted = 0;
  for (int i = 0; i < 3; ++i) {
    sigaction(kSignals[i], nullptr, &before[i]);
    if (before[i].sa_handler == SIG_IGN) continue;
    struct sigaction action {};
    action.sa_handler = note;
    action.sa_flags = SA_RESTART;  // a write in progress goes on
    sigaction(kSignals[i], &action, nullptr);
  }
}

StopSignals::~StopSignals() {
  for (int i = 0; i < 3; ++i) sigaction(kSignals[i], &before[i], nullptr);
}

int StopSignals::received() const {
  return noted;
}

const char* name_of_signal(int signal) {
  switch (signal) {
    case SIGINT: return "SIGINT";
    case SIGTERM: return "SIGTERM";
    case SIGHUP: return "SIGHUP";
    default: return "a signal";
  }
}

}  // namespace imago
