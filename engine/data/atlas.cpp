// Many small images in one PNG.
#include <algorithm>
#include <nlohmann/json.hpp>

#include "engine/data/sources.h"
#include "engine/image/decode.h"
#include "engine/image/resize.h"
#include "engine/io/json.h"
#include "kernels/error.h"

namespace imago {
namespace fs = std::filesystem;
namespace {

using nlohmann::json;

class AtlasDataset : public Dataset {
 public:
  AtlasDataset(fs::path path, Image image, int tile, int count, int columns)
      : path_(std::move(path)), image_(std::move(image)), tile_(tile), count_(count), columns_(columns) {}
  void set_labels(std::vector<int32_t> labels, std::vector<std::string> names) {
    labels_ = std::move(labels);
    names_ = std::move(names);
  }
  int64_t size() const override { return count_; }
  Image image(int64_t i) const override {
    const size_t samples = static_cast<size_t>(tile_) * static_cast<size_t>(tile_ * image_.channels);
    Image out{tile_, tile_, image_.channels, std::vector<uint8_t>(samples)};
    const int row = static_cast<int>(i) / columns_, column = static_cast<int>(i) % columns_;
    copy_window(image_, row * tile_, column * tile_, tile_, tile_, /*flip=*/false, out.pixels.data());
    return out;
  }
  int32_t label(int64_t i) const override { return labels_.empty() ? -1 : labels_[static_cast<size_t>(i)]; }
  const std::vector<std::string>& class_names() const override { return names_; }
  std::string name(int64_t i) const override { return str(path_.string(), ", image ", i); }
  std::string description() const override {
    return str(count_text(count_, names_.size(), str(tile_, "x", tile_)), ", atlas (", path_.string(), ")");
  }

 private:
  fs::path path_;
  Image image_;
  int tile_, count_, columns_;
  std::vector<int32_t> labels_;
  std::vector<std::string> names_;
};

int positive(const json& description, const char* key, const std::string& file) {
  const auto it = description.find(key);
  if (it == description.end() || !it->is_number_unsigned() || *it == 0 || *it > 1'000'000)
    bad_input(file, ": \"", key, "\" should be a whole number from 1 to 1000000");
  return it->get<int>();
}

void read_labels(const json& description, int count, const std::string& file, AtlasDataset& set) {
  if (!description.contains("labels")) return;
  const json classes = description.value("classes", json());
  std::vector<std::string> names;
  if (!classes.is_array() || classes.empty())
    bad_input(file, ": \"labels\" need \"classes\", a list of names");
  for (const json& name : classes) {
    if (!name.is_string()) bad_input(file, ": \"classes\" should be a list of names");
    names.push_back(name.get<std::string>());
  }
  const json& list = description["labels"];
  if (!list.is_array() || list.size() != static_cast<size_t>(count))
    bad_input(file, ": \"labels\" should be a list of ", count, " numbers");
  std::vector<int32_t> labels;
  for (const json& label : list) {
    if (!label.is_number_unsigned() || label >= names.size())
      bad_input(file, ": \"labels\" should be numbers from 0 to ", names.size() - 1);
    labels.push_back(label.get<int32_t>());
  }
  set.set_labels(std::move(labels), std::move(names));
}

}  // namespace

bool is_atlas(const fs::path& path) {
  const json description = read_json(path);
  return description.is_object() && description.contains("tile");
}

std::shared_ptr<Dataset> open_atlas(const fs::path& png, const fs::path& json_path) {
  const std::string file = json_path.string();
  const json description = read_json(json_path);
  const int tile = positive(description, "tile", file), count = positive(description, "count", file);
  const int columns = positive(description, "columns", file);
  Image image = read_image(png);
  const int64_t rows = (int64_t{count} + columns - 1) / columns;
  if (image.width != int64_t{columns} * tile || image.height < rows * tile)
    bad_input(png.string(), ": ", image.height, "x", image.width, " pixels, but ", file, " promises ", rows,
              " rows of ", columns, " tiles of ", tile, "x", tile);
  auto set = std::make_shared<AtlasDataset>(png, std::move(image), tile, count, columns);
  read_labels(description, count, file, *set);
  return set;
}

}  // namespace imago
