// A folder of PNG, JPEG and WebP files.
#include <sys/stat.h>

#include <algorithm>
#include <set>

#include "engine/data/sources.h"
#include "engine/image/decode.h"
#include "kernels/error.h"

namespace imago {
namespace fs = std::filesystem;
namespace {

constexpr size_t kNamedWarnings = 10;  // broken files that are named one by one

std::string lower(std::string text) {
  for (char& c : text) c = static_cast<char>(c >= 'A' && c <= 'Z' ? c - 'A' + 'a' : c);
  return text;
}

bool is_image_name(const fs::path& path) {
  const std::string ending = lower(path.extension().string());
  return ending == ".png" || ending == ".jpg" || ending == ".jpeg" || ending == ".webp";
}

// Collects paths relative to a root, through symbolic links too, but never into a folder that it is already
// in.
class Walk {
 public:
  explicit Walk(fs::path root) : root_(std::move(root)) { visit(""); }
  std::vector<std::string> files;

 private:
  void visit(const std::string& below) {
    const fs::path folder = root_ / below;
    struct stat info;
    if (stat(folder.c_str(), &info) != 0) return;
    const auto identity = std::make_pair(info.st_dev, info.st_ino);
    if (!open_.insert(identity).second) return;
    std::error_code error;
    fs::directory_iterator it(folder, error), end;
    for (; !error && it != end; it.increment(error)) {
      const std::string name = it->path().filename().string();
      if (name.starts_with('.')) continue;
      const std::string path = below.empty() ? name : below + "/" + name;
      std::error_code broken_link;
      if (it->is_directory(broken_link))
        visit(path);
      else if (is_image_name(it->path()) && it->is_regular_file(broken_link))
        files.push_back(path);
    }
    if (error) bad_input(folder.string(), ": cannot list this folder: ", error.message());
    open_.erase(identity);
  }
  fs::path root_;
  std::set<std::pair<dev_t, ino_t>> open_;
};

class FolderDataset : public Dataset {
 public:
  FolderDataset(fs::path root, std::vector<std::string> files)
      : root_(std::move(root)), files_(std::move(files)) {
    const auto in_root = [](const std::string& file) { return file.find('/') == file.npos; };
    if (std::any_of(files_.begin(), files_.end(), in_root)) return;
    std::set<std::string> classes;
    const auto class_of = [](const std::string& file) { return file.substr(0, file.find('/')); };
    for (const std::string& file : files_) classes.insert(class_of(file));
    names_.assign(classes.begin(), classes.end());
    for (const std::string& file : files_) {
      const auto it = std::lower_bound(names_.begin(), names_.end(), class_of(file));
      labels_.push_back(static_cast<int32_t>(it - names_.begin()));
    }
  }
  int64_t size() const override { return static_cast<int64_t>(files_.size()); }
  Image image(int64_t i) const override { return read_image(name(i)); }
  int32_t label(int64_t i) const override { return labels_.empty() ? -1 : labels_[static_cast<size_t>(i)]; }
  const std::vector<std::string>& class_names() const override { return names_; }
  std::string name(int64_t i) const override { return (root_ / files_[static_cast<size_t>(i)]).string(); }
  std::string description() const override {
    return str(count_text(size(), names_.size()), ", folder (", root_.string(), ")");
  }

 private:
  fs::path root_;
  std::vector<std::string> files_;  // relative to root_
  std::vector<std::string> names_;
  std::vector<int32_t> labels_;
};

}  // namespace

fs::path split_folder(const fs::path& folder, const std::string& split) {
  std::error_code error;
  bool wanted = false;
  for (fs::directory_iterator it(folder, error), end; !error && it != end; it.increment(error)) {
    const std::string name = it->path().filename().string();
    std::error_code broken_link;
    if (name.starts_with('.')) continue;
    if (!it->is_directory(broken_link)) {
      if (is_image_name(it->path())) return folder;
      continue;
    }
    if (name != "train" && name != "test" && name != "val" && name != "valid" && name != "validation")
      return folder;
    wanted |= name == split;
  }
  return wanted ? folder / split : folder;
}

std::shared_ptr<Dataset> open_image_folder(const fs::path& given, const DatasetOptions& options) {
  const fs::path folder = split_folder(given, options.split);
  std::vector<std::string> files = Walk(folder).files;
  if (files.empty())
    bad_input(folder.string(), ": no images (.png .jpg .jpeg .webp) in this folder or below it");
  std::sort(files.begin(), files.end());  // std::string compares bytes, whatever the locale

  std::vector<std::string> problems(files.size());
#pragma omp parallel for schedule(dynamic, 16)
  for (size_t i = 0; i < files.size(); ++i) problems[i] = image_file_problem(folder / files[i]);
  const size_t broken = files.size() - static_cast<size_t>(std::count(problems.begin(), problems.end(), ""));
  size_t kept = 0, named = 0;
  for (size_t i = 0; i < files.size(); ++i) {
    if (problems[i].empty()) {
      if (kept != i) files[kept] = std::move(files[i]);
      ++kept;
      continue;
    }
    const std::string message = str((folder / files[i]).string(), ": ", problems[i]);
    if (options.broken_images.refuse)
      bad_input(message, broken > 1 ? str(" (and ", broken - 1, " more broken images)") : "");
    if (++named <= kNamedWarnings) options.broken_images.warn(message + "; skipped");
  }
  if (broken > kNamedWarnings)
    options.broken_images.warn(str(broken - kNamedWarnings, " more broken images skipped"));
  files.resize(kept);
  if (files.empty())
    bad_input(folder.string(), ": every image (.png .jpg .jpeg .webp) in this folder is broken");
  return std::make_shared<FolderDataset>(folder, std::move(files));
}

}  // namespace imago
