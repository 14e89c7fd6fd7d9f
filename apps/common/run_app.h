// What every program does around its work: errors become one line and an exit code.
#pragma once

#include <functional>
#include <string>

namespace imago {

constexpr int kExitOk = 0, kExitFailure = 1, kExitBadInput = 2;

/// Runs `body` and returns its exit code. What it throws is printed as one line, "NAME: MESSAGE", on standard
/// error: bad input gives exit code 2, anything else 1. Writing to a closed pipe or beyond a file size limit
/// becomes an error that the writer sees instead of a signal that kills; OpenMP's idle threads sleep.
int run_app(const std::string& name, const std::function<int()>& body);

/// "NAME: warning: MESSAGE" on standard error.
void warn_user(const std::string& name, const std::string& message);

}  // namespace imago
