#include "engine/io/json.h"

#include <algorithm>
#include <nlohmann/json.hpp>
#include <set>
#include <vector>

#include "engine/io/atomic_file.h"
#include "kernels/error.h"

namespace imago {
namespace {

using nlohmann::json;

// "[json.exception.parse_error.101] parse error at line 1, column 2: syntax error while ..." -> "syntax error
// while ..."
std::string plain_message(const json::exception& e) {
  std::string text = e.what();
  if (const size_t bracket = text.find("] "); text.starts_with("[") && bracket != text.npos)
    text.erase(0, bracket + 2);
  if (text.starts_with("parse error"))
    if (const size_t colon = text.find(": "); colon != text.npos) text.erase(0, colon + 2);
  std::replace(text.begin(), text.end(), '\n', ' ');
  return text;
}

[[noreturn]] void refuse(std::string_view text, size_t byte, const std::string& name,
                         const std::string& message) {
  const std::string_view before = text.substr(0, std::min(byte > 0 ? byte - 1 : 0, text.size()));
  const auto line = 1 + std::count(before.begin(), before.end(), '\n');
  const size_t start = before.rfind('\n');  // npos + 1 == 0
  bad_input(name, ":", line, ":", before.size() - (start + 1) + 1, ": not valid JSON: ", message);
}

// Python writes infinities as Infinity and -Infinity, which are no JSON. They are read as null; spaces keep
// everything else where it was.
std::string without_infinities(std::string_view text) {
  constexpr std::string_view kInfinity = "Infinity", kNull = "null    ";
  std::string plain(text);
  bool quoted = false;
  for (size_t i = 0; i < plain.size(); ++i) {
    if (plain[i] == '"') quoted = !quoted;
    if (quoted && plain[i] == '\\') ++i;
    if (quoted || plain.compare(i, kInfinity.size(), kInfinity) != 0) continue;
    plain.replace(i, kNull.size(), kNull);
    if (i > 0 && plain[i - 1] == '-') plain[i - 1] = ' ';
  }
  return plain;
}

// Called by the parser at every key; throws at the second one of a kind in an object.
class KeyWatch {
 public:
  explicit KeyWatch(const std::string& name) : name_(name) {}
  bool operator()(int, json::parse_event_t event, const json& value) {
    if (event == json::parse_event_t::object_start) seen_.emplace_back();
    if (event == json::parse_event_t::object_end) seen_.pop_back();
    if (event == json::parse_event_t::key && !seen_.back().insert(value.get<std::string>()).second)
      bad_input(name_, ": has \"", value.get<std::string>(), "\" twice");
    return true;
  }

 private:
  const std::string& name_;
  std::vector<std::set<std::string>> seen_;
};

}  // namespace

json parse_json(std::string_view written, const std::string& name, bool unique_keys) {
  const std::string text = without_infinities(written);
  try {
    if (!unique_keys) return json::parse(text);
    KeyWatch watch(name);
    return json::parse(
        text, [&](int depth, json::parse_event_t event, json& value) { return watch(depth, event, value); });
  } catch (const json::parse_error& e) {
    refuse(text, e.byte, name, plain_message(e));
  } catch (const json::exception& e) {  // a number beyond every range: the library does not say where
    bad_input(name, ": not valid JSON: ", plain_message(e));
  }
}

json read_json(const std::filesystem::path& path) {
  return parse_json(read_file(path), path.string());
}

std::string format_json(const json& value) {
  return value.dump(2, ' ', /*ensure_ascii=*/true, json::error_handler_t::replace) + "\n";
}

void write_json(const std::filesystem::path& path, const json& value) {
  write_file(path, format_json(value));
}

}  // namespace imago
