#include "models/resnet/config.h"

#include <nlohmann/json.hpp>
#include <set>

#include "kernels/error.h"
#include "models/json_fields.h"

namespace imago {

using nlohmann::json;

namespace {

constexpr const char* kClassName = "ResNetClassifier";
constexpr int kMost = 65536;  // far beyond any sensible width, and far from overflow

// The one list of keys, for reading and for writing.
template <class Config, class Visit>
void for_each_key(Config& c, Visit visit) {
  visit("sample_size", c.sample_size);
  visit("in_channels", c.in_channels);
  visit("block_out_channels", c.block_out_channels);
  visit("layers_per_block", c.layers_per_block);
  visit("norm_num_groups", c.norm_num_groups);
  visit("norm_eps", c.norm_eps);
  visit("class_names", c.class_names);
}

void check_numbers(const ResNetConfig& c, const std::string& source) {
  const auto whole = [&](const char* key, int value, int min) {
    if (value < min || value > kMost)
      bad_input(source, ": ", key, ": expected a whole number from ", min, " to ", kMost, ", not ", value);
  };
  whole("sample_size", c.sample_size, 1);
  whole("layers_per_block", c.layers_per_block, 1);
  whole("norm_num_groups", c.norm_num_groups, 1);
  if (c.in_channels != 1 && c.in_channels != 3)
    bad_input(source, ": in_channels: expected 1 (grey) or 3 (colour), not ", c.in_channels);
  if (!(c.norm_eps > 0)) bad_input(source, ": norm_eps: expected a number > 0, not ", c.norm_eps);
  if (c.block_out_channels.empty()) bad_input(source, ": block_out_channels: expected one level or more");
  for (const int channels : c.block_out_channels) {
    whole("block_out_channels", channels, 1);
    if (channels % c.norm_num_groups != 0)
      bad_input(source, ": block_out_channels: ", channels, " is no multiple of norm_num_groups, ",
                c.norm_num_groups);
  }
}

void check_classes(const ResNetConfig& c, const std::string& source) {
  if (c.classes() < 2)
    bad_input(source, ": class_names: expected two classes or more to tell apart, not ", c.classes());
  std::set<std::string> seen;
  for (const std::string& name : c.class_names)
    if (!seen.insert(name).second) bad_input(source, ": class_names: \"", name, "\" stands there twice");
}

}  // namespace

void ResNetConfig::validate(const std::string& source) const {
  check_numbers(*this, source);
  check_classes(*this, source);
}

ResNetConfig parse_resnet_config(const json& object, const std::string& file, bool without_classes) {
  JsonFields fields(object, file);
  if (const auto at = object.find("_class_name"); at != object.end() && *at != kClassName)
    bad_input(file, ": _class_name: ", at->dump(), " is not supported (supported: ", kClassName, ")");
  ResNetConfig c;
  for_each_key(c, [&](const char* key, auto& value) { fields.read(key, value); });
  const json known = to_json(c);
  for (const auto& [key, value] : object.items())
    if (!key.starts_with("_") && !known.contains(key)) bad_input(file, ": ", key, ": unknown key");
  check_numbers(c, file);
  if (!without_classes || !c.class_names.empty()) check_classes(c, file);
  return c;
}

json to_json(const ResNetConfig& config) {
  json out = {{"_class_name", kClassName}};
  for_each_key(config, [&](const char* key, const auto& value) { out[key] = value; });
  return out;
}

}  // namespace imago
