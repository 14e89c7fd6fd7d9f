// MNIST-style IDX files, plain or gzip.
#include <zlib.h>

#include <algorithm>
#include <memory>

#include "engine/data/sources.h"
#include "kernels/error.h"

namespace imago {
namespace fs = std::filesystem;
namespace {

// Reads gzip and plain files alike.
class GzipReader {
 public:
  explicit GzipReader(const fs::path& path) : path_(path.string()), file_(gzopen(path.c_str(), "rb")) {
    if (!file_) bad_input(path_, ": cannot open");
    gzbuffer(file_, 1 << 18);
  }
  GzipReader(const GzipReader&) = delete;
  GzipReader& operator=(const GzipReader&) = delete;
  ~GzipReader() { gzclose(file_); }

  /// Up to `bytes` bytes; fewer only at the end of the file. Damaged compression, also found there, is bad
  /// input.
  size_t read(uint8_t* out, size_t bytes) {
    size_t done = 0;
    while (done < bytes) {
      const int n = gzread(file_, out + done, static_cast<unsigned>(std::min<size_t>(bytes - done, 1 << 30)));
      int code = Z_OK;
      const char* message = gzerror(file_, &code);
      if (n < 0 || code == Z_BUF_ERROR)
        bad_input(path_, ": ", code == Z_BUF_ERROR ? "truncated gzip file" : "damaged gzip file", " (",
                  message, ")");
      if (n == 0) break;
      done += static_cast<size_t>(n);
    }
    return done;
  }

 private:
  std::string path_;
  gzFile file_;
};

std::string text_of(const std::vector<int64_t>& extents) {
  std::string s = "[";
  for (size_t i = 0; i < extents.size(); ++i) s += (i ? "," : "") + std::to_string(extents[i]);
  return s + "]";
}

class IdxDataset : public Dataset {
 public:
  IdxDataset(fs::path path, IdxArray images, std::vector<uint8_t> labels)
      : path_(std::move(path)), images_(std::move(images)), labels_(std::move(labels)) {
    const auto& e = images_.extents;
    height_ = static_cast<int>(e[1]);
    width_ = static_cast<int>(e[2]);
    channels_ = e.size() == 4 ? static_cast<int>(e[3]) : 1;
    if (!labels_.empty())
      for (int i = 0; i <= *std::max_element(labels_.begin(), labels_.end()); ++i)
        names_.push_back(std::to_string(i));
  }
  int64_t size() const override { return images_.extents[0]; }
  Image image(int64_t i) const override {
    const int64_t bytes = int64_t{height_} * width_ * channels_;
    const auto begin = images_.data.begin() + i * bytes;
    return {height_, width_, channels_, {begin, begin + bytes}};
  }
  int32_t label(int64_t i) const override { return labels_.empty() ? -1 : labels_[static_cast<size_t>(i)]; }
  const std::vector<std::string>& class_names() const override { return names_; }
  std::string name(int64_t i) const override { return str(path_.string(), ", image ", i); }
  std::string description() const override {
    return str(count_text(size(), names_.size(), str(height_, "x", width_)), ", IDX (", path_.string(), ")");
  }

 private:
  fs::path path_;
  IdxArray images_;
  std::vector<uint8_t> labels_;
  std::vector<std::string> names_;
  int height_, width_, channels_;
};

}  // namespace

IdxArray read_idx(const fs::path& path) {
  const std::string file = path.string();
  GzipReader reader(path);
  uint8_t magic[4] = {};
  if (reader.read(magic, 4) != 4 || magic[0] != 0 || magic[1] != 0 || magic[3] == 0)
    bad_input(file, ": not an IDX file (it should begin with two zero bytes, a type and a rank)");
  if (magic[2] != 8)
    bad_input(file, ": IDX element type ", int{magic[2]}, "; only 8, unsigned bytes, can be read");
  IdxArray array;
  int64_t total = 1;
  for (int i = 0; i < magic[3]; ++i) {
    uint8_t b[4];
    if (reader.read(b, 4) != 4) bad_input(file, ": truncated in its header");
    array.extents.push_back(int64_t{b[0]} << 24 | b[1] << 16 | b[2] << 8 | b[3]);
    if (__builtin_mul_overflow(total, array.extents.back(), &total))
      bad_input(file, ": absurd size ", text_of(array.extents));
  }
  // Memory grows with what is really there, whatever the header promises.
  const size_t expected = static_cast<size_t>(total);
  size_t filled = 0;
  while (filled < expected) {
    const size_t chunk = std::min(expected - filled, std::max<size_t>(filled, 1 << 16));
    array.data.resize(filled + chunk);
    const size_t n = reader.read(array.data.data() + filled, chunk);
    filled += n;
    if (n < chunk)
      bad_input(file, ": truncated: ", text_of(array.extents), " needs ", expected, " bytes, ", filled,
                " are there");
  }
  uint8_t extra;
  if (reader.read(&extra, 1) != 0)
    bad_input(file, ": holds more than the ", expected, " bytes of ", text_of(array.extents));
  return array;
}

std::shared_ptr<Dataset> open_idx(const fs::path& path) {
  IdxArray images = read_idx(path);
  const auto& e = images.extents;
  const bool shaped = (e.size() == 3 || (e.size() == 4 && (e[3] == 1 || e[3] == 3))) && e[0] > 0 &&
                      e[1] > 0 && e[2] > 0 && e[1] <= 65536 && e[2] <= 65536;
  if (!shaped) bad_input(path.string(), ": not a set of images: its shape is ", text_of(e));

  std::vector<uint8_t> labels;
  std::string name = path.filename().string();
  for (const char* part : {"images-idx3", "images.idx3", "images-idx4"}) {
    const size_t at = name.find(part);
    if (at == name.npos) continue;
    std::string other = name;
    other.replace(at, 11, str("labels", name[at + 6], "idx1"));
    if (other.ends_with(".gz")) other.resize(other.size() - 3);
    for (const char* ending : {"", ".gz"}) {
      const fs::path file = path.parent_path() / (other + ending);
      if (!labels.empty() || !fs::exists(file)) continue;
      IdxArray array = read_idx(file);
      if (array.extents.size() != 1 || array.extents[0] != e[0])
        bad_input(file.string(), ": its shape is ", text_of(array.extents), ", expected [", e[0],
                  "] as there are ", e[0], " images");
      labels = std::move(array.data);
    }
  }
  return std::make_shared<IdxDataset>(path, std::move(images), std::move(labels));
}

}  // namespace imago
