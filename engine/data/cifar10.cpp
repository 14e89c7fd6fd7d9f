// CIFAR-10, binary version.
#include <algorithm>
#include <sstream>

#include "engine/data/sources.h"
#include "engine/io/atomic_file.h"
#include "kernels/error.h"

namespace imago {
namespace fs = std::filesystem;
namespace {

constexpr int kSide = 32, kPlane = kSide * kSide, kRecord = 1 + 3 * kPlane;  // bytes

class Cifar10Dataset : public Dataset {
 public:
  Cifar10Dataset(fs::path path, std::string records, std::vector<std::string> names)
      : path_(std::move(path)), records_(std::move(records)), names_(std::move(names)) {}
  int64_t size() const override { return static_cast<int64_t>(records_.size() / kRecord); }
  Image image(int64_t i) const override {
    Image image{kSide, kSide, 3, std::vector<uint8_t>(3 * kPlane)};
    const char* planes = record(i) + 1;  // [3,32,32]
    for (size_t p = 0; p < kPlane; ++p)
      for (size_t c = 0; c < 3; ++c) image.pixels[p * 3 + c] = static_cast<uint8_t>(planes[c * kPlane + p]);
    return image;
  }
  int32_t label(int64_t i) const override { return *record(i); }
  const std::vector<std::string>& class_names() const override { return names_; }
  std::string name(int64_t i) const override { return str(path_.string(), ", image ", i); }
  std::string description() const override {
    return str(count_text(size(), names_.size(), "32x32"), ", CIFAR-10 (", path_.string(), ")");
  }

 private:
  const char* record(int64_t i) const { return records_.data() + i * kRecord; }
  fs::path path_;
  std::string records_;
  std::vector<std::string> names_;
};

}  // namespace

std::shared_ptr<Dataset> open_cifar10(const std::vector<fs::path>& batches) {
  std::string records;
  for (const fs::path& path : batches) {
    const std::string batch = read_file(path);
    if (batch.empty() || batch.size() % kRecord != 0)
      bad_input(path.string(), ": truncated or not CIFAR-10: ", batch.size(),
                " bytes, expected a multiple of ", kRecord);
    for (size_t at = 0; at < batch.size(); at += kRecord)
      if (static_cast<uint8_t>(batch[at]) > 9)
        bad_input(path.string(), ": not CIFAR-10: image ", at / kRecord, " has the label ",
                  static_cast<int>(static_cast<uint8_t>(batch[at])), ", expected 0 to 9");
    records += batch;
  }
  std::vector<std::string> names;
  const fs::path folder = batches.front().parent_path(), meta = folder / "batches.meta.txt";
  if (fs::exists(meta)) {
    std::istringstream lines(read_file(meta));
    for (std::string line; names.size() < 10 && lines >> line;) names.push_back(line);
  }
  while (names.size() < 10) names.push_back(std::to_string(names.size()));
  return std::make_shared<Cifar10Dataset>(batches.size() == 1 ? batches.front() : folder, std::move(records),
                                          std::move(names));
}

}  // namespace imago
