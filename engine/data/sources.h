// The kinds of data set behind open_dataset.
#pragma once

#include <filesystem>
#include <memory>
#include <vector>

#include "engine/data/dataset.h"

namespace imago {

/// An IDX file (gzip or not): big-endian; two zero bytes, the element type (8: unsigned byte, the only one
/// here), the rank, one 32-bit extent a dimension, then the elements. Source:
/// http://yann.lecun.com/exdb/mnist/
struct IdxArray {
  std::vector<int64_t> extents;
  std::vector<uint8_t> data;
};
IdxArray read_idx(const std::filesystem::path& path);

/// Images [N,H,W] or [N,H,W,3]; labels [N] from the file whose name has "labels-idx1" for "images-idx3".
std::shared_ptr<Dataset> open_idx(const std::filesystem::path& images);

/// Records of 3073 bytes: label, then the planes R, G, B of 32x32. Class names from batches.meta.txt if it is
/// there. Source: https://www.cs.toronto.edu/~kriz/cifar.html
std::shared_ptr<Dataset> open_cifar10(const std::vector<std::filesystem::path>& batches);

/// A PNG of count square tiles of tile x tile pixels, row by row, `columns` in a row. The JSON file says so:
/// {"tile": 32, "count": 3000, "columns": 64}, optionally with "labels": [0, 2, ...] and "classes": ["a",
/// "b", ...].
std::shared_ptr<Dataset> open_atlas(const std::filesystem::path& png, const std::filesystem::path& json);
/// Whether that JSON file describes an atlas (and is not about something else).
bool is_atlas(const std::filesystem::path& json);

/// Parquet files as one set, in the given order; `path` is what the set is called in messages.
///
/// Columns: see image_column and label_column in parquet/columns.h; others are not read. Classes are those of
/// a ClassLabel feature in the file's metadata, or else 0, 1, ... up to the largest label; a label that is
/// null or negative is -1. All files must have the same label column and the same class names. Pages:
/// versions 1 and 2, of any size, with dictionaries or without, in the encodings of parquet/encodings.h and
/// the compressions of parquet/compression.h.
/// A row whose image is null is a broken image: left out with a warning, or refused (options.broken_images).
/// Other broken images show when they are decoded.
///
/// Footers, page headers and labels are read here; a page of images when one of its images is asked for.
/// Memory: 12 bytes an image, about 100 bytes a page, the footers; the unpacked pages used last, up to 256
/// MiB of all files together or a single larger one; and for each thread within image() one page, packed and
/// unpacked, and its dictionary. Where the pages of a set are many more than that and each has many images,
/// going through it in random order unpacks a page for almost every image.
///
/// Bad input, in one line with file, column and page: anything else, anything damaged, lengths that lie.
std::shared_ptr<Dataset> open_parquet(const std::vector<std::filesystem::path>& files,
                                      const std::filesystem::path& path, const DatasetOptions& options);

/// The sub-folder of this split, where a folder has nothing but sub-folders called train, test, val, valid or
/// validation, and this one among them; else the folder itself.
std::filesystem::path split_folder(const std::filesystem::path& folder, const std::string& split);
std::shared_ptr<Dataset> open_image_folder(const std::filesystem::path& folder,
                                           const DatasetOptions& options);

/// "60000 images, 10 classes"
std::string count_text(int64_t images, size_t classes, const std::string& size = "");

}  // namespace imago
