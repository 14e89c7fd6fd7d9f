#include "models/json_fields.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <nlohmann/json.hpp>

#include "kernels/error.h"

namespace imago {

using nlohmann::json;

namespace {

// A value as it stands in the file, cut to what fits into a message.
std::string shown(const json& value) {
  std::string text = value.dump(-1, ' ', true, json::error_handler_t::replace);
  if (text.size() > 60) text = text.substr(0, 57) + "...";
  return text;
}

bool to_int(const json& value, int& out) {
  if (!value.is_number()) return false;
  const double d = value.get<double>();
  if (d != std::floor(d) || std::abs(d) > std::numeric_limits<int>::max()) return false;
  out = static_cast<int>(d);
  return true;
}

bool get(const json& value, bool& out) {
  if (value.is_boolean()) out = value.get<bool>();
  return value.is_boolean();
}
bool get(const json& value, int& out) {
  return to_int(value, out);
}
bool get(const json& value, double& out) {
  if (value.is_number()) out = value.get<double>();
  return value.is_number() && std::isfinite(out);
}
bool get(const json& value, std::string& out) {
  if (value.is_string()) out = value.get<std::string>();
  return value.is_string();
}
template <class T>
bool get(const json& value, std::vector<T>& out) {
  if (!value.is_array()) return false;
  out.assign(value.size(), T{});
  for (size_t i = 0; i < out.size(); ++i)
    if (!get(value[i], out[i])) return false;
  return true;
}

const char* described(bool) {
  return "true or false";
}
const char* described(int) {
  return "a whole number";
}
const char* described(double) {
  return "a number";
}
const char* described(const std::string&) {
  return "a text";
}
const char* described(const std::vector<int>&) {
  return "a list of whole numbers";
}
const char* described(const std::vector<double>&) {
  return "a list of numbers";
}
const char* described(const std::vector<std::string>&) {
  return "a list of texts";
}

}  // namespace

JsonFields::JsonFields(const json& object, std::string file) : object_(object), file_(std::move(file)) {
  if (!object_.is_object()) bad_input(file_, ": expected a JSON object, not ", shown(object_));
  const auto defaults = object_.find("_use_default_values");
  if (defaults == object_.end() || !defaults->is_array()) return;
  for (const json& key : *defaults)
    if (key.is_string()) defaults_.insert(key.get<std::string>());
}

const json* JsonFields::find(const char* key) {
  seen_.insert(key);
  const auto at = object_.find(key);
  return at == object_.end() || defaults_.contains(key) ? nullptr : &*at;
}

void JsonFields::refuse(const char* key, const std::string& expected) {
  const json* value = find(key);
  bad_input(file_, ": ", key, ": expected ", expected, ", not ", value ? shown(*value) : "nothing");
}

// One value; a null is a wrong type here.
template <class T>
void JsonFields::read_value(const char* key, T& value) {
  const json* found = find(key);
  if (!found) return;
  T read{};
  if (!get(*found, read)) refuse(key, described(read));
  value = std::move(read);
}

template <class T>
void JsonFields::read_optional(const char* key, std::optional<T>& value) {
  const json* found = find(key);
  if (!found) return;
  if (found->is_null()) {
    value.reset();
    return;
  }
  T read{};
  if (!get(*found, read)) refuse(key, std::string(described(read)) + " or null");
  value = std::move(read);
}

void JsonFields::read(const char* key, bool& value) {
  read_value(key, value);
}
void JsonFields::read(const char* key, int& value) {
  read_value(key, value);
}
void JsonFields::read(const char* key, double& value) {
  read_value(key, value);
}
void JsonFields::read(const char* key, std::string& value) {
  read_value(key, value);
}
void JsonFields::read(const char* key, std::vector<int>& value) {
  read_value(key, value);
}
void JsonFields::read(const char* key, std::vector<std::string>& value) {
  read_value(key, value);
}
void JsonFields::read(const char* key, std::optional<int>& value) {
  read_optional(key, value);
}
void JsonFields::read(const char* key, std::optional<double>& value) {
  read_optional(key, value);
}
void JsonFields::read(const char* key, std::optional<std::string>& value) {
  read_optional(key, value);
}
void JsonFields::read(const char* key, std::optional<std::vector<double>>& value) {
  read_optional(key, value);
}

std::vector<std::string> JsonFields::unknown_keys() const {
  std::vector<std::string> warnings;
  for (const auto& [key, value] : object_.items())
    if (!key.starts_with("_") && !seen_.contains(key))
      warnings.push_back(str(file_, ": ", key, ": unknown key, ignored"));
  return warnings;
}

void require_supported(const std::string& file, const std::string& key, const std::string& value,
                       std::initializer_list<const char*> supported) {
  if (std::find(supported.begin(), supported.end(), value) != supported.end()) return;
  std::string list;
  for (const char* s : supported) list += (list.empty() ? "" : ", ") + std::string(s);
  bad_input(file, ": ", key, ": \"", value, "\" is not supported (supported: ", list, ")");
}

}  // namespace imago
