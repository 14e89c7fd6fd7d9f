// A set of images in Parquet files.
#pragma once

#include <filesystem>
#include <memory>
#include <vector>

#include "engine/data/dataset.h"

namespace imago {

/// Opens the files as one set, in the given order; `path` is what the set is called in messages.
///
/// Columns: see image_column and label_column in columns.h; others are not read. Classes are those of a
/// ClassLabel feature in the file's metadata, or else 0, 1, ... up to the largest label; a label that is null
/// or negative is -1. All files must have the same label column and the same class names.
/// Pages: versions 1 and 2, of any size, with dictionaries or without, in the encodings of encodings.h and
/// the compressions of compression.h.
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

}  // namespace imago
