// The pages of one column of a Parquet file.
#pragma once

#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "engine/data/parquet/file.h"

namespace imago::parquet {

/// Where a page lies, and which rows it has.
struct PageLocation {
  PageHeader header;
  size_t row_group = 0;
  int64_t offset = 0;     // of what follows the header
  int64_t first_row = 0;  // within the file; of data pages
};

/// A page, unpacked. Values that are null are not stored.
struct Page {
  std::string bytes;
  size_t values_begin = 0;    // before it lie the levels
  std::vector<bool> present;  // for every row; empty: no nulls
  size_t num_values = 0;      // nulls not included
  std::string_view values() const { return std::string_view(bytes).substr(values_begin); }
};

/// An index of the pages of a column that is not repeated, built from the headers before the pages; they are
/// all that the constructor reads. Bad input, beginning with "FILE, column NAME": columns in other files,
/// encrypted, or in a compression that cannot be read; corrupt headers; pages that do not fill their chunk
/// exactly or whose values do not add up to the rows of their row group; two dictionaries in one.
class ColumnPages {
 public:
  ColumnPages(std::shared_ptr<const ParquetFile> file, const Leaf& leaf);

  const ParquetFile& file() const { return *file_; }
  const Leaf& leaf() const { return leaf_; }
  /// In the order of their rows; pages without rows are left out.
  const std::vector<PageLocation>& data_pages() const { return data_pages_; }
  /// That of a row group; nullptr where it has none.
  const PageLocation* dictionary(size_t row_group) const;

  /// Reads, checks and unpacks one page. Bad input: a wrong checksum, what unpack refuses (compression.h),
  /// levels that are corrupt, or in BIT_PACKED, which the format has given up.
  Page read(const PageLocation& location) const;
  /// The rows whose value is null. Pages are read only where neither the footer nor their header says that
  /// there are none.
  std::vector<int64_t> null_rows() const;

  /// "FILE, column NAME", and with "page at byte 1234".
  std::string where() const;
  std::string where(const PageLocation& location) const;

 private:
  void index_row_group(size_t number, int64_t first_row);
  PageHeader read_header(int64_t offset, int64_t end, size_t& header_bytes) const;
  void read_levels(std::string_view levels, const PageLocation& location, Page& page) const;
  Page read_version_1(std::string_view stored, const PageLocation& location) const;
  Page read_version_2(std::string_view stored, const PageLocation& location) const;
  const ColumnChunk& chunk(size_t row_group) const;

  std::shared_ptr<const ParquetFile> file_;
  Leaf leaf_;
  std::vector<PageLocation> data_pages_;
  std::vector<std::optional<PageLocation>> dictionaries_;  // for every row group
};

/// The numbers of a data page's values within its dictionary, which has `dictionary_size` of them. Bad input
/// "WHERE: ..." for numbers beyond it.
std::vector<uint32_t> dictionary_indices(const Page& page, size_t dictionary_size, const std::string& where);

/// Whether a data page's values are numbers within a dictionary.
bool uses_dictionary(const PageHeader& header);

}  // namespace imago::parquet
