#include "engine/data/parquet/columns.h"

#include <algorithm>
#include <nlohmann/json.hpp>

#include "engine/io/json.h"
#include "kernels/error.h"

namespace imago::parquet {
namespace {

using nlohmann::json;
using Path = std::vector<std::string>;

const Leaf* find_leaf(const ParquetFile& file, const Path& path) {
  const auto& leaves = file.leaves();
  const auto found =
      std::find_if(leaves.begin(), leaves.end(), [&](const Leaf& leaf) { return leaf.path == path; });
  return found == leaves.end() ? nullptr : &*found;
}

// The first leaf of that name or below a group of that name.
const Leaf* find_column(const ParquetFile& file, const std::string& name) {
  const auto& leaves = file.leaves();
  const auto found =
      std::find_if(leaves.begin(), leaves.end(), [&](const Leaf& leaf) { return leaf.path[0] == name; });
  return found == leaves.end() ? nullptr : &*found;
}

std::string column_list(const ParquetFile& file) {
  constexpr size_t kNamed = 12;
  Path names;
  for (const Leaf& leaf : file.leaves())
    if (names.empty() || names.back() != leaf.path[0]) names.push_back(leaf.path[0]);
  std::string text;
  for (size_t i = 0; i < std::min(names.size(), kNamed); ++i) text += (i ? ", " : "") + names[i];
  return names.size() > kNamed ? text + ", ..." : names.empty() ? "none" : text;
}

// "INT64", "text", "a list of BYTE_ARRAY", "a group with b of INT32"
std::string kind_of(const Leaf& leaf) {
  const std::string type = leaf.text ? "text" : name_of(leaf.type);
  if (leaf.max_repetition > 0) return "a list of " + type;
  return leaf.path.size() > 1 ? "a group with " + leaf.name() + " of " + type : type;
}

// info.features.COLUMN.names of the datasets library's description, or nothing.
const json* find_names(const json& description, const std::string& column) {
  const json* at = &description;
  for (const std::string& key :
       {std::string("info"), std::string("features"), column, std::string("names")}) {
    if (!at->is_object() || !at->contains(key)) return nullptr;
    at = &(*at)[key];
  }
  return at->is_array() ? at : nullptr;
}

}  // namespace

Leaf image_column(const ParquetFile& file) {
  for (const char* name : {"image", "img"}) {
    const Leaf* column = find_column(file, name);
    if (!column) continue;
    const Leaf* leaf = find_leaf(file, {name});
    if (!leaf) leaf = find_leaf(file, {name, "bytes"});
    if (!leaf || leaf->type != Type::kByteArray || leaf->text || leaf->max_repetition > 0)
      bad_input(file.name(), ", column ", name, ": ", kind_of(leaf ? *leaf : *column),
                "; expected BYTE_ARRAY, or a struct {bytes, path}, with the bytes of encoded images");
    return *leaf;
  }
  bad_input(file.name(), ": no column image or img; its columns: ", column_list(file));
}

LabelColumn label_column(const ParquetFile& file) {
  std::string problem;
  for (const char* name : {"label", "labels", "fine_label"}) {
    const Leaf* column = find_column(file, name);
    if (!column) continue;
    const bool whole =
        column->type == Type::kBoolean || column->type == Type::kInt32 || column->type == Type::kInt64;
    if (column->path.size() == 1 && column->max_repetition == 0 && whole) return {*column, ""};
    if (problem.empty())
      problem = str(file.name(), ", column ", name, ": ", kind_of(*column),
                    "; expected INT32 or INT64: the images have no labels");
  }
  return {{}, problem};
}

std::vector<std::string> class_names(const ParquetFile& file, const std::string& column) {
  const auto& key_values = file.metadata().key_values;
  const auto found = key_values.find("huggingface");
  if (found == key_values.end()) return {};
  const json description = parse_json(found->second, file.name() + ": metadata key huggingface");
  std::vector<std::string> names;
  if (const json* list = find_names(description, column))
    for (const json& name : *list) names.push_back(name.is_string() ? name.get<std::string>() : name.dump());
  return names;
}

}  // namespace imago::parquet
