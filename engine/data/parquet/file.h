// An open Parquet file: its footer, and bytes from anywhere in it.
//
//   "PAR1"
//   pages     of the column chunks, row group by row group
//   footer    FileMetaData, in Thrift's compact protocol
//   4 bytes   length of the footer, little-endian
//   "PAR1"
//
// Source: https://github.com/apache/parquet-format#file-format
#pragma once

#include <cstdint>
#include <filesystem>
#include <string>
#include <vector>

#include "engine/data/parquet/metadata.h"
#include "engine/data/parquet/schema.h"

namespace imago::parquet {

constexpr int64_t kPagesBegin = 4;

/// The footer is read and checked by the constructor. Bad input, in one line that names the file: one that
/// cannot be read, is not Parquet, is encrypted or truncated; a corrupt footer; row groups that do not have a
/// chunk for every column or do not add up to its number of rows; more rows than the file can hold images
/// (one for each byte, and a million). Reading is safe from several threads.
class ParquetFile {
 public:
  explicit ParquetFile(const std::filesystem::path& path);
  ParquetFile(const ParquetFile&) = delete;
  ParquetFile& operator=(const ParquetFile&) = delete;
  ~ParquetFile();

  std::string name() const { return path_.string(); }
  const FileMetadata& metadata() const { return metadata_; }
  const std::vector<Leaf>& leaves() const { return leaves_; }
  /// Pages lie between kPagesBegin and here, in bytes from the start of the file.
  int64_t pages_end() const { return pages_end_; }
  /// `count` bytes from `offset` on. Bad input if the file ends before.
  std::string read(int64_t offset, size_t count) const;

 private:
  void read_footer();
  void check_row_groups() const;

  std::filesystem::path path_;
  int fd_ = -1;
  int64_t size_ = 0;
  int64_t pages_end_ = 0;  // where the footer begins
  FileMetadata metadata_;
  std::vector<Leaf> leaves_;
};

}  // namespace imago::parquet
