#include "apps/common/run_app.h"

#include <csignal>
#include <cstdio>
#include <exception>
#include <new>

#include "apps/common/idle_threads.h"
#include "kernels/backend.h"
#include "kernels/error.h"

namespace imago {

namespace {

/// Text that came from files may hold line breaks; a message is one line.
std::string one_line(std::string text) {
  for (char& c : text) {
    if (static_cast<unsigned char>(c) < ' ') c = ' ';
  }
  return text;
}

int report(const std::string& name, const std::string& message, int code) {
  std::fflush(stdout);
  std::fprintf(stderr, "%s: %s\n", name.c_str(), one_line(message).c_str());
  return code;
}

}  // namespace

int run_app(const std::string& name, const std::function<int()>& body) {
  std::signal(SIGPIPE, SIG_IGN);
  std::signal(SIGXFSZ, SIG_IGN);
  keep_idle_threads_asleep();
  try {
    cpu_backend();  // a table of choices that the environment names wrongly is no option's fault
    const int code = body();
    // Output that never arrived (a full disk behind a redirect) is a failure, too.
    if (std::fflush(stdout) != 0 && code == kExitOk)
      return report(name, "cannot write to standard output", 1);
    return code;
  } catch (const Error& e) {
    return report(name, e.what(), e.fault == Fault::kBadInput ? kExitBadInput : kExitFailure);
  } catch (const std::bad_alloc&) {
    return report(name, "out of memory", kExitFailure);
  } catch (const std::exception& e) {
    return report(name, e.what(), kExitFailure);
  }
}

void warn_user(const std::string& name, const std::string& message) {
  report(name, "warning: " + message, 0);
}

}  // namespace imago
