// The metadata of a Parquet file: what its footer says of schema, row groups and column chunks, and what
// stands before each page. Names and numbers are those of parquet.thrift.
// Source: https://github.com/apache/parquet-format/blob/master/src/main/thrift/parquet.thrift
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace imago::parquet {

enum class Type {
  kBoolean = 0,
  kInt32 = 1,
  kInt64 = 2,
  kInt96 = 3,
  kFloat = 4,
  kDouble = 5,
  kByteArray = 6,
  kFixedLengthByteArray = 7
};

enum class Encoding {
  kPlain = 0,
  kPlainDictionary = 2,
  kRle = 3,
  kBitPacked = 4,
  kDeltaBinaryPacked = 5,
  kDeltaLengthByteArray = 6,
  kDeltaByteArray = 7,
  kRleDictionary = 8,
  kByteStreamSplit = 9
};

enum class Codec {
  kUncompressed = 0,
  kSnappy = 1,
  kGzip = 2,
  kLzo = 3,
  kBrotli = 4,
  kLz4 = 5,
  kZstd = 6,
  kLz4Raw = 7
};

enum class PageType { kData = 0, kIndex = 1, kDictionary = 2, kDataV2 = 3 };

enum class Repetition { kRequired = 0, kOptional = 1, kRepeated = 2 };

/// "INT64", "RLE_DICTIONARY", "SNAPPY"; "number 42" where the format knows no such value.
std::string name_of(Type type);
std::string name_of(Encoding encoding);
std::string name_of(Codec codec);

/// A node of the schema; the tree lies flat, depth first.
struct SchemaElement {
  std::string name;
  std::optional<Type> type;  // of a leaf
  int32_t num_children = 0;  // of a group
  Repetition repetition = Repetition::kRequired;
  bool text = false;  // a byte array that is annotated as UTF-8
};

/// The values of one leaf of the schema within a row group: pages without gaps.
struct ColumnChunk {
  Type type = Type::kBoolean;
  Codec codec = Codec::kUncompressed;
  int64_t num_values = 0;             // nulls included
  int64_t begin = 0;                  // of the first page, in bytes from the start of the file
  int64_t bytes = 0;                  // stored, page headers included
  std::optional<int64_t> null_count;  // where the writer says it
  bool elsewhere = false;             // in another file
  bool encrypted = false;
};

struct RowGroup {
  std::vector<ColumnChunk> columns;  // in the order of the schema's leaves
  int64_t num_rows = 0;
};

struct FileMetadata {
  std::vector<SchemaElement> schema;
  std::vector<RowGroup> row_groups;
  std::map<std::string, std::string> key_values;
  int64_t num_rows = 0;
};

/// What stands before a page.
struct PageHeader {
  PageType type = PageType::kData;
  Encoding encoding = Encoding::kPlain;
  int32_t unpacked_bytes = 0;
  int32_t stored_bytes = 0;
  int32_t num_values = 0;        // nulls included
  int32_t definition_bytes = 0;  // of the levels, version 2
  int32_t repetition_bytes = 0;  // of the levels, version 2
  bool compressed = true;        // version 2 may say no
  bool rle_levels = true;        // version 1: definition levels are in RLE, not in BIT_PACKED
  std::optional<uint32_t> crc;   // of the stored bytes
  std::optional<int32_t> nulls;  // version 2
};

/// Reads the footer's struct. Bad input "WHERE: ..." if it is corrupt, lacks a field that the format requires
/// or has a negative size.
FileMetadata read_file_metadata(std::string_view bytes, const std::string& where);

/// Reads the header that `bytes` begins with; header_bytes becomes its length. Errors as read_file_metadata.
PageHeader read_page_header(std::string_view bytes, const std::string& where, size_t& header_bytes);

}  // namespace imago::parquet
