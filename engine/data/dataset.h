// Sets of images, wherever they come from.
#pragma once

#include <cstdint>
#include <filesystem>
#include <functional>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "engine/image/image.h"

namespace imago {

using Warn = std::function<void(const std::string&)>;

/// "warning: MESSAGE" on the standard error stream.
void print_warning(const std::string& message);

/// What becomes of an image that turns out to be broken.
struct BrokenImages {
  bool refuse = false;  // bad input; otherwise it is left out, or another takes its place, with a warning
  Warn warn = print_warning;  // may be called from any thread that reads the set
};

/// A numbered set of images of any sizes, with or without class labels. Everything const is safe to call from
/// several threads.
class Dataset {
 public:
  virtual ~Dataset() = default;
  virtual int64_t size() const = 0;
  /// Image i as it is stored, decoded. Bad input if it turns out to be broken.
  virtual Image image(int64_t i) const = 0;
  /// Class of image i, 0 .. number of classes - 1, or -1 where there are no labels.
  virtual int32_t label(int64_t) const { return -1; }
  /// One name a class; empty where there are no labels.
  virtual const std::vector<std::string>& class_names() const = 0;
  /// What image i is called in messages: its file, or "FILE, image 12".
  virtual std::string name(int64_t i) const = 0;
  /// For people: "60000 images of 28x28, 10 classes, IDX (/data/train-images-idx3-ubyte.gz)".
  virtual std::string description() const = 0;

  /// What those who read the set do about broken images.
  const BrokenImages& broken_images() const { return broken_images_; }
  void set_broken_images(BrokenImages broken) { broken_images_ = std::move(broken); }

 private:
  BrokenImages broken_images_;
};

struct DatasetOptions {
  /// "train", or "test" for the held-out images, where the format has both: IDX, CIFAR-10 and Parquet by the
  /// names of their files, image folders by those of their sub-folders.
  std::string split = "train";
  BrokenImages broken_images = {};
};

/// Whether a set at `path` has held-out images of its own: whether open_dataset would take other images for
/// the split "test" than for "train".
bool has_test_split(const std::filesystem::path& path);

/// Opens whatever lies at `path`; what it is shows from its content:
/// - MNIST-style IDX files, plain or gzip: a folder with train-images-idx3-ubyte[.gz] (split test: t10k-...),
///   or such a file itself; labels are taken from ...-labels-idx1-ubyte[.gz] beside it if that exists;
/// - CIFAR-10, binary version: a folder with data_batch_1.bin .. data_batch_5.bin (split test:
///   test_batch.bin), or such a file itself;
/// - Parquet files as the hub ships image sets: FILE.parquet, or a folder of such shards (see open_parquet in
///   sources.h and find_shards in parquet/shards.h);
/// - an atlas: one PNG full of equal tiles and a JSON file of the same name beside it (see open_atlas), or
///   their folder;
/// - any other folder: the .png, .jpg, .jpeg and .webp files in and below it, in the byte order of their
///   paths; if all lie in sub-folders, those of the first level are the classes, in the same order. A folder
///   whose only sub-folders are called train, test, val, valid or validation is one of splits. Names that
///   begin with a dot are passed over.
/// Files that are visibly broken (see image_file_problem) are left out with a warning, or refused. Bad input:
/// no such folder, nothing usable in it, files that disagree with their own headers.
std::shared_ptr<const Dataset> open_dataset(const std::filesystem::path& path,
                                            const DatasetOptions& options = {});

}  // namespace imago
