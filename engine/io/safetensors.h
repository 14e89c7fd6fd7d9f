// The safetensors file format: named tensors in one file.
//
//   8 bytes   length of the header, little-endian
//   header    JSON: {"__metadata__": {text: text},
//                    NAME: {"dtype": "F32", "shape": [2,3], "data_offsets": [0,24]}, ...},
//             padded with spaces to a multiple of 8
//   data      the tensors' bytes without holes; the offsets count from here
//
// Source: https://huggingface.co/docs/safetensors (the format's own description).
#pragma once

#include <cstdint>
#include <filesystem>
#include <functional>
#include <map>
#include <span>
#include <string>
#include <unordered_map>
#include <vector>

#include "kernels/tensor_ref.h"

namespace imago {

/// A tensor in host memory and what it is called. With `make`, float32 numbers that are made when they are
/// written, one tensor at a time; tensor.data is then not looked at.
struct NamedTensor {
  std::string name;
  ConstTensorRef tensor;
  std::function<std::vector<float>()> make = {};
};

using SafetensorsMetadata = std::map<std::string, std::string>;

/// Writes the tensors to `path`, atomically (see AtomicFile). The data lie in the given order, wider element
/// types first, so that every tensor is aligned to its element size. Names must be distinct and not
/// "__metadata__".
void write_safetensors(const std::filesystem::path& path, std::span<const NamedTensor> tensors,
                       const SafetensorsMetadata& metadata = {{"format", "pt"}});

/// An open safetensors file. The header is read and checked in full by the constructor; tensors are read when
/// asked for. Everything wrong with the file is bad input, in one line that names the file and, where there
/// is one, the tensor: shorter than its header says, a header that is not the JSON above, an unknown element
/// type, a shape that overflows, offsets that disagree with the shape, overlap, leave holes or do not cover
/// the file, a name twice. Element types: F32 BF16 F16 F64 U8 I32 I64. Reading is safe from several threads.
class SafetensorsFile {
 public:
  struct Entry {
    std::string name;
    std::string dtype;           // as in the file: "F32"
    std::vector<int64_t> shape;  // any rank
    uint64_t begin = 0;          // bytes from the start of the data
    uint64_t end = 0;
  };

  explicit SafetensorsFile(const std::filesystem::path& path);
  SafetensorsFile(const SafetensorsFile&) = delete;
  SafetensorsFile& operator=(const SafetensorsFile&) = delete;
  ~SafetensorsFile();

  const std::filesystem::path& path() const { return path_; }
  const SafetensorsMetadata& metadata() const { return metadata_; }
  /// In the order of the data.
  const std::vector<Entry>& entries() const { return entries_; }
  bool contains(const std::string& name) const { return index_.contains(name); }
  /// Bad input if there is no such tensor.
  const Entry& entry(const std::string& name) const;

  /// Copies the tensor into `out`, host memory of exactly its element type and shape; anything else is bad
  /// input.
  void read(const std::string& name, TensorRef out) const;

  /// Any floating-point tensor (F32, F16, BF16, F64) as float32, in the file's element order. The second form
  /// fills `out`, which must have as many elements as the tensor.
  std::vector<float> read_as_float32(const std::string& name) const;
  void read_as_float32(const std::string& name, std::span<float> out) const;

 private:
  void parse_header(const std::string& header);
  void check_layout();
  void read_bytes(const Entry& entry, uint64_t offset, void* out, size_t bytes) const;

  std::filesystem::path path_;
  int fd_ = -1;
  uint64_t data_start_ = 0, data_bytes_ = 0;
  SafetensorsMetadata metadata_;
  std::vector<Entry> entries_;
  std::unordered_map<std::string, size_t> index_;
};

/// IEEE half precision to float32; exact.
float float_from_half(uint16_t bits);

}  // namespace imago
