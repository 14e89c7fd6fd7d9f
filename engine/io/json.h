// JSON files, with errors that say where.
#pragma once

#include <filesystem>
#include <nlohmann/json_fwd.hpp>
#include <string>
#include <string_view>

namespace imago {

/// Parses text that came from `name`. Anything else than one JSON value is bad input:
/// "NAME:3:14: not valid JSON: ..." with line and column counted from 1.
/// Infinity and -Infinity, which Python writes and JSON does not know, are read as null.
/// unique_keys: an object that has a key twice is bad input too (JSON itself lets the last one win).
nlohmann::json parse_json(std::string_view text, const std::string& name, bool unique_keys = false);

/// The content of a JSON file; errors as read_file and parse_json.
nlohmann::json read_json(const std::filesystem::path& path);

/// Indented by 2, keys sorted, ASCII only, a newline at the end: byte for byte what Python's
/// json.dumps(value, indent=2, sort_keys=True) + "\n" gives for anything but unusual floating-point numbers.
std::string format_json(const nlohmann::json& value);

/// format_json into a file, atomically.
void write_json(const std::filesystem::path& path, const nlohmann::json& value);

}  // namespace imago
