#include "engine/data/parquet/shards.h"

#include <algorithm>
#include <set>

#include "kernels/error.h"

namespace imago::parquet {
namespace fs = std::filesystem;
namespace {

std::vector<fs::path> parquet_files(const fs::path& folder) {
  std::vector<fs::path> files;
  std::error_code error;
  for (fs::directory_iterator it(folder, error), end; !error && it != end; it.increment(error)) {
    const std::string name = it->path().filename().string();
    std::error_code broken_link;
    if (name.ends_with(".parquet") && !name.starts_with('.') && name != "metadata.parquet" &&
        it->is_regular_file(broken_link))
      files.push_back(it->path());
  }
  std::sort(files.begin(), files.end(), [](const fs::path& a, const fs::path& b) {
    return a.filename().native() < b.filename().native();
  });
  return files;
}

// "train" of train-00000-of-00002.parquet; empty if a name does not begin with a split.
std::string split_of(const fs::path& file) {
  const std::string name = file.filename().string();
  const std::string first = name.substr(0, name.find_first_of("-._"));
  for (const char* split : {"train", "test", "val", "valid", "validation"})
    if (first == split) return first;
  return "";
}

}  // namespace

std::vector<fs::path> find_shards(const fs::path& folder, const std::string& split) {
  for (const fs::path& place : {folder, folder / "data", folder / split, folder / "default" / split}) {
    std::vector<fs::path> files = parquet_files(place);
    if (files.empty()) continue;
    std::set<std::string> splits;
    for (const fs::path& file : files) splits.insert(split_of(file));
    if (splits.size() == 1 && splits.contains("")) return files;
    std::erase_if(files, [&](const fs::path& file) { return split_of(file) != split; });
    if (!files.empty()) return files;
    std::string found;
    for (const std::string& name : splits)
      if (!name.empty()) found += (found.empty() ? "" : ", ") + name;
    bad_input(place.string(), ": has Parquet files of the split ", found, ", but none of ", split);
  }
  return {};
}

}  // namespace imago::parquet
