// Command-line options with messages of one line, over CLI11 (which stays in the .cpp: it is slow to
// compile).
#pragma once

#include <cstdint>
#include <initializer_list>
#include <limits>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "kernels/error.h"

namespace imago {

/// The numbers that an option takes, and how a message says so.
struct NumberRange {
  double min = -std::numeric_limits<double>::infinity(), max = std::numeric_limits<double>::infinity();
  bool min_excluded = false, max_excluded = false;

  static NumberRange positive() { return {0, std::numeric_limits<double>::infinity(), true, true}; }
  static NumberRange at_least(double min) {
    return {min, std::numeric_limits<double>::infinity(), false, true};
  }
  bool contains(double x) const;
  std::string to_string() const;  // "a number > 0"
};

/// f(), whose bad input is put behind the option's name: the library says what is wrong with the value, "tpu:
/// expected cpu or cuda", and the message reads "--device tpu: expected cpu or cuda".
template <class F>
auto naming_option(const std::string& name, const F& f) {
  try {
    return f();
  } catch (const Error& e) {
    if (e.fault != Fault::kBadInput) throw;
    bad_input(name, " ", e.what());
  }
}

/// The options of one program, all of the form --name value, --name=value or --flag; given twice, the last
/// counts. The variables hold the defaults, and must outlive parse().
class CommandLine {
 public:
  CommandLine(const std::string& program, const std::string& description);
  ~CommandLine();

  /// Options that follow stand under this heading in --help.
  void heading(const std::string& title);

  void text(const std::string& name, std::string& value, const std::string& help);
  void whole_number(const std::string& name, int& value, int64_t min, const std::string& help);
  void whole_number(const std::string& name, int64_t& value, int64_t min, const std::string& help);
  void whole_number(const std::string& name, std::optional<int>& value, int64_t min, const std::string& help);
  void seed(const std::string& name, uint64_t& value, const std::string& help);
  void number(const std::string& name, double& value, const NumberRange& range, const std::string& help);
  void number(const std::string& name, std::optional<double>& value, const NumberRange& range,
              const std::string& help);
  void choice(const std::string& name, std::string& value, std::initializer_list<const char*> choices,
              const std::string& help);
  /// Two values behind one name.
  void numbers(const std::string& name, std::optional<std::pair<double, double>>& values,
               const NumberRange& range, const std::string& help);
  void seeds(const std::string& name, std::optional<std::pair<uint64_t, uint64_t>>& values,
             const std::string& help);
  /// A text that is looked at with values() alone.
  void value_of(const std::string& name, const std::string& help);
  void flag(const std::string& name, bool& value, const std::string& help);
  /// Known, but not taken: bad input "--NAME: REASON" where it is given. `has_value`: it is followed by a
  /// value.
  void refused(const std::string& name, bool has_value, const std::string& reason);
  /// Taken, but without effect here.
  void ignored(const std::string& name, bool has_value, const std::string& reason);

  /// Bad input, naming the option, for anything that is not as declared. False: --help was asked for and
  /// printed.
  bool parse(int argc, const char* const* argv);
  /// After parse(): whether the option was on the command line.
  bool given(const std::string& name) const;
  /// After parse(): every option with its value, but those that are refused or ignored.
  std::vector<std::pair<std::string, std::string>> values() const;

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace imago
