// Which columns of a Parquet file make it a set of images, as the hub ships them.
// Source: https://huggingface.co/docs/datasets/image_dataset, and the key "huggingface" that its library
// writes into the file's metadata.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "engine/data/parquet/file.h"

namespace imago::parquet {

/// The bytes of encoded images: column `image`, or else `img`, as a struct {bytes, path} or plain byte
/// arrays. Bad input, naming file and column: neither is there, or it is something else.
Leaf image_column(const ParquetFile& file);

/// The labels: the first of the columns `label`, `labels` and `fine_label` that has whole numbers (or truth
/// values), one for each row.
struct LabelColumn {
  std::optional<Leaf> leaf;
  std::string problem;  // where there is such a column, but none with whole numbers
};
LabelColumn label_column(const ParquetFile& file);

/// The names that a ClassLabel feature called `column` gives its classes; empty if there is none. Bad input:
/// a key "huggingface" that is not JSON.
std::vector<std::string> class_names(const ParquetFile& file, const std::string& column);

}  // namespace imago::parquet
