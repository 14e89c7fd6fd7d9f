#include "apps/common/command_line.h"

#include <CLI/CLI.hpp>
#include <charconv>
#include <cmath>
#include <cstdio>
#include <set>
#include <vector>

#include "kernels/error.h"

namespace imago {

namespace {

/// The whole of `text` as a number; false where it is none, or does not fit.
template <class T>
bool parse_number(const std::string& text, T& value) {
  const char* begin = text.data();
  const char* end = begin + text.size();
  if (begin != end && *begin == '+') ++begin;
  const auto [rest, error] = std::from_chars(begin, end, value);
  return error == std::errc() && rest == end && begin != end;
}

/// How many letters must be changed, added or removed to turn a into b (Levenshtein 1966).
size_t edit_distance(const std::string& a, const std::string& b) {
  std::vector<size_t> row(b.size() + 1);
  for (size_t j = 0; j <= b.size(); ++j) row[j] = j;
  for (size_t i = 1; i <= a.size(); ++i) {
    size_t diagonal = std::exchange(row[0], i);
    for (size_t j = 1; j <= b.size(); ++j) {
      const size_t changed = diagonal + (a[i - 1] != b[j - 1]);
      diagonal = row[j];
      row[j] = std::min({changed, row[j] + 1, row[j - 1] + 1});
    }
  }
  return row[b.size()];
}

/// A validator whose message says what was given and what was expected.
template <class Accepts>
CLI::Validator expecting(const std::string& expected, Accepts accepts) {
  return CLI::Validator(
      [expected, accepts](std::string& given) {
        return accepts(given) ? std::string() : "expected " + expected + ", not \"" + given + "\"";
      },
      "");
}

std::string shortest(double x) {
  char text[32];
  return {text, std::to_chars(text, text + sizeof text, x).ptr};
}

}  // namespace

bool NumberRange::contains(double x) const {
  return std::isfinite(x) && (min_excluded ? x > min : x >= min) && (max_excluded ? x < max : x <= max);
}

std::string NumberRange::to_string() const {
  std::string text = "a number";
  if (std::isfinite(min)) text += (min_excluded ? " > " : " >= ") + shortest(min);
  if (std::isfinite(max))
    text += std::string(std::isfinite(min) ? " and" : "") + (max_excluded ? " < " : " <= ") + shortest(max);
  return text;
}

struct CommandLine::Impl {
  explicit Impl(const std::string& program, const std::string& description) : app(description, program) {
    app.allow_extras();  // parse() reports what is left over
    app.get_formatter()->column_width(40);
  }

  CLI::Option* finish(CLI::Option* option) { return option->group(heading)->take_last(); }

  template <class T>
  CLI::Option* number(const std::string& name, T& value, const NumberRange& range, const std::string& help) {
    const auto accepts = [range](const std::string& given) {
      double x;
      return parse_number(given, x) && range.contains(x);
    };
    return finish(app.add_option(name, value, help))
        ->check(expecting(range.to_string(), accepts))
        ->type_name("X");
  }

  template <class T>
  void whole_number(const std::string& name, T& value, int64_t min, const std::string& help) {
    using Number = std::conditional_t<std::is_same_v<T, std::optional<int>>, int, T>;
    const auto accepts = [min](const std::string& given) {
      Number n;
      return parse_number(given, n) && n >= static_cast<Number>(min);
    };
    const std::string expected =
        "a whole number" + (min == std::numeric_limits<int64_t>::min() ? "" : " >= " + std::to_string(min));
    finish(app.add_option(name, value, help))
        ->check(expecting(expected, accepts))
        ->type_name("N")
        ->capture_default_str();
  }

  template <class T, class Check>
  void pair(const std::string& name, std::optional<std::pair<T, T>>& values, const Check& check,
            const std::string& type, const std::string& help) {
    const auto take = [&values](const std::vector<T>& both) { values = {both[0], both[1]}; };
    finish(app.add_option_function<std::vector<T>>(name, take, help))
        ->expected(2)
        ->check(check)
        ->type_name(type);
  }

  std::string unknown(const std::string& argument) const {
    if (argument.rfind("--", 0) != 0)
      return "unexpected argument \"" + argument + "\"; options begin with --";
    const std::string name = argument.substr(0, argument.find('='));
    std::string best;
    size_t distance = name.size() / 3 + 1;  // farther away is no typing error
    for (const CLI::Option* o : app.get_options()) {
      const std::string known = o->get_name();
      if (const size_t d = edit_distance(name, known); d < distance) distance = d, best = known;
    }
    return name + ": there is no such option" +
           (best.empty() ? "; see --help" : "; did you mean " + best + "?");
  }

  CLI::App app;
  std::string heading = "Options";
  std::set<const CLI::Option*> without_effect;
};

CommandLine::CommandLine(const std::string& program, const std::string& description)
    : impl_(std::make_unique<Impl>(program, description)) {}
CommandLine::~CommandLine() = default;

void CommandLine::heading(const std::string& title) {
  impl_->heading = title;
}

void CommandLine::text(const std::string& name, std::string& value, const std::string& help) {
  CLI::Option* option = impl_->finish(impl_->app.add_option(name, value, help))->type_name("TEXT");
  if (!value.empty()) option->default_str(value);
}

void CommandLine::whole_number(const std::string& name, int& value, int64_t min, const std::string& help) {
  impl_->whole_number(name, value, min, help);
}
void CommandLine::whole_number(const std::string& name, int64_t& value, int64_t min,
                               const std::string& help) {
  impl_->whole_number(name, value, min, help);
}
void CommandLine::whole_number(const std::string& name, std::optional<int>& value, int64_t min,
                               const std::string& help) {
  impl_->whole_number(name, value, min, help);
}
void CommandLine::seed(const std::string& name, uint64_t& value, const std::string& help) {
  const auto accepts = [](const std::string& given) {
    uint64_t n;
    return parse_number(given, n);
  };
  impl_->finish(impl_->app.add_option(name, value, help))
      ->check(expecting("a whole number from 0 to 2^64 - 1", accepts))
      ->type_name("N")
      ->capture_default_str();
}

void CommandLine::number(const std::string& name, double& value, const NumberRange& range,
                         const std::string& help) {
  impl_->number(name, value, range, help)->default_str(shortest(value));
}
void CommandLine::number(const std::string& name, std::optional<double>& value, const NumberRange& range,
                         const std::string& help) {
  impl_->number(name, value, range, help);
}

void CommandLine::choice(const std::string& name, std::string& value,
                         std::initializer_list<const char*> choices, const std::string& help) {
  std::string expected, type;
  for (const char* c : choices) {
    if (!type.empty()) expected += (c == *(choices.end() - 1) ? " or " : ", "), type += "|";
    expected += c, type += c;
  }
  const std::vector<std::string> known(choices.begin(), choices.end());
  const auto accepts = [known](const std::string& s) {
    return std::find(known.begin(), known.end(), s) != known.end();
  };
  impl_->finish(impl_->app.add_option(name, value, help))
      ->check(expecting(expected, accepts))
      ->type_name(type)
      ->default_str(value);
}

void CommandLine::numbers(const std::string& name, std::optional<std::pair<double, double>>& values,
                          const NumberRange& range, const std::string& help) {
  const auto accepts = [range](const std::string& given) {
    double x;
    return parse_number(given, x) && range.contains(x);
  };
  impl_->pair(name, values, expecting(range.to_string(), accepts), "X", help);
}

void CommandLine::seeds(const std::string& name, std::optional<std::pair<uint64_t, uint64_t>>& values,
                        const std::string& help) {
  const auto accepts = [](const std::string& given) {
    uint64_t n;
    return parse_number(given, n);
  };
  impl_->pair(name, values, expecting("a whole number from 0 to 2^64 - 1", accepts), "N", help);
}

void CommandLine::value_of(const std::string& name, const std::string& help) {
  impl_->finish(impl_->app.add_option(name, help))->expected(1)->type_name("VALUE");
}

void CommandLine::flag(const std::string& name, bool& value, const std::string& help) {
  impl_->finish(impl_->app.add_flag(name, value, help));
}

void CommandLine::refused(const std::string& name, bool has_value, const std::string& reason) {
  const auto refuse = [name, reason] { bad_input(name, ": ", reason); };
  CLI::Option* option = has_value
                            ? impl_->app.add_option_function<std::string>(
                                  name, [refuse](const std::string&) { refuse(); }, "refused: " + reason)
                            : impl_->app.add_flag_callback(name, refuse, "refused: " + reason);
  impl_->without_effect.insert(impl_->finish(option));
}

void CommandLine::ignored(const std::string& name, bool has_value, const std::string& reason) {
  CLI::Option* option = has_value ? impl_->app.add_option_function<std::string>(
                                        name, [](const std::string&) {}, "no effect: " + reason)
                                  : impl_->app.add_flag_callback(
                                        name, [] {}, "no effect: " + reason);
  impl_->without_effect.insert(impl_->finish(option));
}

bool CommandLine::parse(int argc, const char* const* argv) {
  try {
    impl_->app.parse(argc, argv);
  } catch (const CLI::CallForHelp&) {
    std::fputs(impl_->app.help().c_str(), stdout);
    return false;
  } catch (const CLI::ArgumentMismatch& e) {  // "--NAME: 1 required TEXT missing", and nothing else here
    const std::string what = e.what();
    bad_input(what.substr(0, what.find(':')), ": expected a value");
  } catch (const CLI::ConversionError& e) {  // "Could not convert: --FLAG = VALUE": values are checked above
    const std::string what = e.what();
    bad_input(what.substr(what.find("--")), ": a flag takes no value");
  } catch (const CLI::ParseError& e) {
    throw Error(Fault::kBadInput, e.what());
  }
  if (const auto rest = impl_->app.remaining(); !rest.empty())
    throw Error(Fault::kBadInput, impl_->unknown(rest[0]));
  return true;
}

bool CommandLine::given(const std::string& name) const {
  return impl_->app.count(name) > 0;
}

std::vector<std::pair<std::string, std::string>> CommandLine::values() const {
  std::vector<std::pair<std::string, std::string>> values;
  for (const CLI::Option* o : impl_->app.get_options()) {
    if (o->get_name() == "--help" || impl_->without_effect.contains(o)) continue;
    std::string value = o->get_default_str();
    if (o->count() > 0) value = o->get_expected_max() == 0 ? "yes" : o->results().back();
    values.emplace_back(o->get_name(), value);
  }
  return values;
}

}  // namespace imago
