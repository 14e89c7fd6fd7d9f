// The one exception type of the project, and how its messages are built.
#pragma once

#include <sstream>
#include <stdexcept>
#include <string>

namespace imago {

/// Whose fault it is decides the exit code of a program: 2 for bad input, 1 for anything else.
enum class Fault { kBadInput, kFailure };

/// What was expected, what came, and where: one line, ready to be printed.
class Error : public std::runtime_error {
 public:
  Error(Fault fault, const std::string& message) : std::runtime_error(message), fault(fault) {}
  Fault fault;
};

/// str(1, " of ", 2.5) == "1 of 2.5"
template <class... Parts>
std::string str(const Parts&... parts) {
  std::ostringstream out;
  (out << ... << parts);
  return out.str();
}

/// The user gave something unusable: names the file or option and what was expected. Exit code 2.
template <class... Parts>
[[noreturn]] void bad_input(const Parts&... parts) {
  throw Error(Fault::kBadInput, str(parts...));
}

/// Something that should work did not (a full disk, a failed launch, a broken invariant). Exit code 1.
template <class... Parts>
[[noreturn]] void failure(const Parts&... parts) {
  throw Error(Fault::kFailure, str(parts...));
}

/// A broken precondition of a function is a failure of its caller: check(x.rank() == 4, "conv2d: ...").
template <class... Parts>
void check(bool ok, const Parts&... parts) {
  if (!ok) failure(parts...);
}

}  // namespace imago
