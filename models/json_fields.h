// Reading the keys of a configuration file one by one, with messages that say which key of which file is
// wrong.
#pragma once

#include <initializer_list>
#include <nlohmann/json_fwd.hpp>
#include <optional>
#include <set>
#include <string>
#include <vector>

namespace imago {

/// The keys of one JSON object. A missing key leaves the value as it was (the default); a key of the wrong
/// type is bad input: "unet/config.json: layers_per_block: expected a whole number, not "two"". Keys that
/// start with "_" are ignored, as are those that the list `_use_default_values` names.
class JsonFields {
 public:
  /// `object` must outlive this. Anything but an object is bad input.
  JsonFields(const nlohmann::json& object, std::string file);

  void read(const char* key, bool& value);
  void read(const char* key, int& value);
  void read(const char* key, double& value);
  void read(const char* key, std::string& value);
  void read(const char* key, std::optional<int>& value);          // null: absent
  void read(const char* key, std::optional<double>& value);       // null: absent
  void read(const char* key, std::optional<std::string>& value);  // null: absent
  void read(const char* key, std::vector<int>& value);
  void read(const char* key, std::vector<std::string>& value);
  void read(const char* key, std::optional<std::vector<double>>& value);  // null: absent
  /// The value itself, or null where the key is missing.
  const nlohmann::json* find(const char* key);

  /// Bad input "FILE: KEY: expected WHAT, not VALUE".
  [[noreturn]] void refuse(const char* key, const std::string& expected);
  /// One warning for each key that nobody asked for.
  std::vector<std::string> unknown_keys() const;
  const std::string& file() const { return file_; }

 private:
  template <class T>
  void read_value(const char* key, T& value);
  template <class T>
  void read_optional(const char* key, std::optional<T>& value);

  const nlohmann::json& object_;
  std::string file_;
  std::set<std::string> seen_, defaults_;
};

/// Bad input "FILE: KEY: "VALUE" is not supported (supported: ...)" unless value is among `supported`.
void require_supported(const std::string& file, const std::string& key, const std::string& value,
                       std::initializer_list<const char*> supported);

}  // namespace imago
