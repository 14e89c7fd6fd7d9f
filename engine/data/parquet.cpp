// Parquet files as the hub ships image sets.
#include <algorithm>
#include <optional>

#include "engine/data/parquet/byte_arrays.h"
#include "engine/data/parquet/columns.h"
#include "engine/data/parquet/integers.h"
#include "engine/data/sources.h"
#include "engine/image/decode.h"
#include "kernels/error.h"

namespace imago {
namespace fs = std::filesystem;
namespace {

using namespace parquet;

constexpr size_t kCacheBytes = size_t{256} << 20;
constexpr int64_t kMaxClasses = 1 << 20;  // where the file does not name them
constexpr int64_t kNamedWarnings = 10;    // null images that are named one by one

struct Shard {
  ByteArrayColumn images;
  int64_t first_row;  // of the whole set
};

class ParquetDataset : public Dataset {
 public:
  ParquetDataset(fs::path path, const DatasetOptions& options) : path_(std::move(path)), options_(options) {}

  void add_file(const fs::path& path);
  void finish();

  int64_t size() const override { return static_cast<int64_t>(rows_.size()); }
  Image image(int64_t i) const override;
  int32_t label(int64_t i) const override { return labels_.empty() ? -1 : labels_[static_cast<size_t>(i)]; }
  const std::vector<std::string>& class_names() const override { return names_; }
  std::string name(int64_t i) const override;
  std::string description() const override {
    const std::string files = shards_.size() > 1 ? str(", ", shards_.size(), " files") : "";
    return str(count_text(size(), names_.size()), ", Parquet (", path_.string(), files, ")");
  }

 private:
  const Shard& shard_of(int64_t row) const;
  void use_label_column(const ParquetFile& file);
  void add_rows(const ColumnPages& images, const std::vector<int64_t>& labels);

  fs::path path_;
  DatasetOptions options_;
  std::vector<Shard> shards_;
  int64_t all_rows_ = 0, null_images_ = 0;
  std::vector<int64_t> rows_;       // of the images, among those of all files
  std::optional<Leaf> label_leaf_;  // in the file added last
  std::vector<int32_t> labels_;     // of the images
  std::vector<std::string> names_;
  mutable PageCache cache_{kCacheBytes};
};

// Sets label_leaf_ and names_ from the first file; every other must agree with it.
void ParquetDataset::use_label_column(const ParquetFile& file) {
  const auto name_in = [](const std::optional<Leaf>& leaf) { return leaf ? leaf->name() : std::string(); };
  LabelColumn column = label_column(file);
  std::vector<std::string> names;
  if (column.leaf) names = parquet::class_names(file, column.leaf->name());
  if (shards_.empty()) {
    if (!column.problem.empty()) options_.broken_images.warn(column.problem);
    names_ = std::move(names);
  } else {
    if (name_in(column.leaf) != name_in(label_leaf_))
      bad_input(file.name(), ": its label column is '", name_in(column.leaf), "', that of the files before '",
                name_in(label_leaf_), "'");
    if (names != names_) bad_input(file.name(), ": other class names than in the files before");
  }
  label_leaf_ = std::move(column.leaf);
}

// Labels of all rows of a file, -1 where there is none.
std::vector<int64_t> checked_labels(const ColumnPages& column, size_t classes) {
  std::vector<int64_t> labels = read_integers(column, -1);
  const int64_t bound = classes > 0 ? static_cast<int64_t>(classes) : kMaxClasses;
  for (size_t row = 0; row < labels.size(); ++row) {
    if (labels[row] >= bound)
      bad_input(column.where(), ", row ", row, ": label ", labels[row], "; expected less than ", bound);
    labels[row] = std::max<int64_t>(labels[row], -1);
  }
  return labels;
}

void ParquetDataset::add_rows(const ColumnPages& images, const std::vector<int64_t>& labels) {
  const std::vector<int64_t> nulls = images.null_rows();
  auto next_null = nulls.begin();
  for (int64_t row = 0; row < images.file().metadata().num_rows; ++row) {
    if (next_null != nulls.end() && *next_null == row) {
      ++next_null;
      const std::string message = str(images.where(), ", row ", row, ": no image (null)");
      if (options_.broken_images.refuse) bad_input(message);
      if (++null_images_ <= kNamedWarnings) options_.broken_images.warn(message + "; skipped");
      continue;
    }
    rows_.push_back(all_rows_ + row);
    if (!labels.empty()) labels_.push_back(static_cast<int32_t>(labels[static_cast<size_t>(row)]));
  }
}

void ParquetDataset::add_file(const fs::path& path) {
  const auto file = std::make_shared<const ParquetFile>(path);
  ByteArrayColumn images(ColumnPages(file, image_column(*file)));
  use_label_column(*file);
  std::vector<int64_t> labels;
  if (label_leaf_) labels = checked_labels(ColumnPages(file, *label_leaf_), names_.size());
  add_rows(images.pages(), labels);
  shards_.push_back({std::move(images), all_rows_});
  all_rows_ += file->metadata().num_rows;
}

void ParquetDataset::finish() {
  if (all_rows_ == 0) bad_input(path_.string(), ": no rows");
  if (rows_.empty()) bad_input(path_.string(), ": every image is null");
  if (null_images_ > kNamedWarnings)
    options_.broken_images.warn(str(null_images_ - kNamedWarnings, " more null images skipped"));
  const int32_t largest = labels_.empty() ? -1 : *std::max_element(labels_.begin(), labels_.end());
  if (largest < 0) names_.clear();  // as in test sets whose labels are kept secret
  if (largest >= 0 && names_.empty())
    for (int32_t i = 0; i <= largest; ++i) names_.push_back(std::to_string(i));
}

const Shard& ParquetDataset::shard_of(int64_t row) const {
  const auto behind =
      std::upper_bound(shards_.begin(), shards_.end(), row,
                       [](int64_t wanted, const Shard& shard) { return wanted < shard.first_row; });
  return *(behind - 1);
}

Image ParquetDataset::image(int64_t i) const {
  const int64_t row = rows_[static_cast<size_t>(i)];
  const Shard& shard = shard_of(row);
  const ByteArray value = shard.images.value(row - shard.first_row, cache_);
  if (!value.bytes) bad_input(name(i), ": no image (null)");
  return decode_image(*value.bytes, name(i));
}

std::string ParquetDataset::name(int64_t i) const {
  const int64_t row = rows_[static_cast<size_t>(i)];
  const Shard& shard = shard_of(row);
  return str(shard.images.pages().file().name(), ", row ", row - shard.first_row);
}

}  // namespace

std::shared_ptr<Dataset> open_parquet(const std::vector<fs::path>& files, const fs::path& path,
                                      const DatasetOptions& options) {
  auto set = std::make_shared<ParquetDataset>(path, options);
  for (const fs::path& file : files) set->add_file(file);
  set->finish();
  return set;
}

}  // namespace imago
