#include "engine/data/dataset.h"

#include <cstdio>

#include "engine/data/parquet/shards.h"
#include "engine/data/sources.h"
#include "kernels/error.h"

namespace imago {
namespace fs = std::filesystem;
namespace {

bool is_file(const fs::path& path) {
  std::error_code ignored;
  return fs::is_regular_file(path, ignored);
}

// NAME or NAME.gz, whichever is there, or nothing.
fs::path plain_or_gzip(const fs::path& path) {
  for (const char* ending : {"", ".gz"}) {
    fs::path candidate = path;
    candidate += ending;
    if (is_file(candidate)) return candidate;
  }
  return {};
}

void check_split(const fs::path& path, const std::string& split) {
  if (split != "train" && split != "test")
    bad_input(path.string(), ": has the splits train and test, not ", split);
}

// The images of a part, "train" or "t10k", or nothing.
fs::path idx_images(const fs::path& folder, const std::string& part) {
  for (const char* ending :
       {"-images-idx3-ubyte", "-images.idx3-ubyte"})  // the second: as some mirrors name them
    if (const fs::path file = plain_or_gzip(folder / (part + ending)); !file.empty()) return file;
  return {};
}

std::shared_ptr<Dataset> find_idx(const fs::path& folder, const std::string& split) {
  const fs::path train = idx_images(folder, "train"), test = idx_images(folder, "t10k");
  if (train.empty() && test.empty()) return nullptr;
  check_split(folder, split);
  const fs::path& wanted = split == "train" ? train : test;
  if (wanted.empty()) bad_input(folder.string(), ": has IDX files, but none of the split ", split);
  return open_idx(wanted);
}

// Where the batches are: the folder, or the one in it that the archive unpacks to.
fs::path cifar10_folder(const fs::path& given) {
  const fs::path unpacked = given / "cifar-10-batches-bin";
  return is_file(unpacked / "data_batch_1.bin") ? unpacked : given;
}

std::shared_ptr<Dataset> find_cifar10(const fs::path& given, const std::string& split) {
  const fs::path folder = cifar10_folder(given);
  if (!is_file(folder / "data_batch_1.bin") && !is_file(folder / "test_batch.bin")) {
    if (is_file(folder / "data_batch_1") || is_file(folder / "cifar-10-batches-py" / "data_batch_1"))
      bad_input(given.string(),
                ": holds the Python version of CIFAR-10; the binary version is what can be read");
    return nullptr;
  }
  check_split(given, split);
  if (split == "test") return open_cifar10({folder / "test_batch.bin"});
  std::vector<fs::path> batches;
  for (int i = 1; i <= 5; ++i) batches.push_back(folder / str("data_batch_", i, ".bin"));
  return open_cifar10(batches);
}

// The folder's only PNG, if a JSON file of the same name describes it as an atlas.
std::shared_ptr<Dataset> find_atlas(const fs::path& folder) {
  fs::path found;
  std::error_code error;
  for (fs::directory_iterator it(folder, error), end; !error && it != end; it.increment(error)) {
    if (it->path().extension() != ".png") continue;
    if (!found.empty()) return nullptr;
    found = it->path();
  }
  const fs::path json = fs::path(found).replace_extension(".json");
  return !found.empty() && is_file(json) && is_atlas(json) ? open_atlas(found, json) : nullptr;
}

std::shared_ptr<Dataset> find_parquet(const fs::path& folder, const DatasetOptions& options) {
  const std::vector<fs::path> files = parquet::find_shards(folder, options.split);
  return files.empty() ? nullptr : open_parquet(files, folder, options);
}

bool parquet_has_test_split(const fs::path& folder) {
  try {
    const std::vector<fs::path> test = parquet::find_shards(folder, "test");
    return !test.empty() && test != parquet::find_shards(folder, "train");
  } catch (const Error&) {  // there are files, but none of one of the two
    return false;
  }
}

std::shared_ptr<Dataset> open_single_file(const fs::path& path, const DatasetOptions& options) {
  const std::string name = path.filename().string();
  if (path.extension() == ".parquet") return open_parquet({path}, path, options);
  if (name.find("idx3-ubyte") != name.npos || name.find("idx4-ubyte") != name.npos) return open_idx(path);
  if (path.extension() == ".bin") return open_cifar10({path});
  const fs::path png = fs::path(path).replace_extension(".png"),
                 json = fs::path(path).replace_extension(".json");
  if ((path == png || path == json) && is_file(png) && is_file(json) && is_atlas(json))
    return open_atlas(png, json);
  bad_input(path.string(),
            ": not a data set; expected a folder of images, Parquet, IDX or CIFAR-10 files, or an atlas (PNG "
            "with JSON)");
}

std::shared_ptr<Dataset> open_any(const fs::path& path, const DatasetOptions& options) {
  std::error_code error;
  const fs::file_status status = fs::status(path, error);
  if (!fs::exists(status))
    bad_input(path.string(), ": no such folder",
              error && error != std::errc::no_such_file_or_directory ? " (" + error.message() + ")"
                                                                     : std::string());
  if (!fs::is_directory(status)) return open_single_file(path, options);
  if (auto set = find_idx(path, options.split)) return set;
  if (auto set = find_cifar10(path, options.split)) return set;
  if (auto set = find_parquet(path, options)) return set;
  if (auto set = find_atlas(path)) return set;
  return open_image_folder(path, options);
}

}  // namespace

void print_warning(const std::string& message) {
  std::fprintf(stderr, "warning: %s\n", message.c_str());
}

std::string count_text(int64_t images, size_t classes, const std::string& size) {
  std::string text = str(images, images == 1 ? " image" : " images");
  if (!size.empty()) text += " of " + size;
  if (classes > 0) text += str(", ", classes, classes == 1 ? " class" : " classes");
  return text;
}

bool has_test_split(const fs::path& path) {
  if (!fs::is_directory(path)) return false;
  if (!idx_images(path, "train").empty()) return !idx_images(path, "t10k").empty();
  if (is_file(cifar10_folder(path) / "data_batch_1.bin"))
    return is_file(cifar10_folder(path) / "test_batch.bin");
  if (parquet_has_test_split(path)) return true;
  const fs::path test = split_folder(path, "test");
  return test != path && test != split_folder(path, "train");
}

std::shared_ptr<const Dataset> open_dataset(const fs::path& path, const DatasetOptions& options) {
  const std::shared_ptr<Dataset> set = open_any(path, options);
  set->set_broken_images(options.broken_images);
  return set;
}

}  // namespace imago
