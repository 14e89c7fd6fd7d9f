#include "engine/data/parquet/pages.h"

#include <zlib.h>

#include <algorithm>
#include <bit>

#include "engine/data/parquet/compression.h"
#include "engine/data/parquet/little_endian.h"
#include "engine/data/parquet/rle.h"
#include "kernels/error.h"

namespace imago::parquet {
namespace {

bool is_data(const PageHeader& header) {
  return header.type == PageType::kData || header.type == PageType::kDataV2;
}

}  // namespace

ColumnPages::ColumnPages(std::shared_ptr<const ParquetFile> file, const Leaf& leaf)
    : file_(std::move(file)), leaf_(leaf) {
  check(leaf_.max_repetition == 0, "ColumnPages: ", leaf_.name(), " is repeated");
  const std::vector<RowGroup>& groups = file_->metadata().row_groups;
  dictionaries_.resize(groups.size());
  int64_t first_row = 0, bytes = 0;
  for (size_t i = 0; i < groups.size(); ++i) {
    if (__builtin_add_overflow(bytes, chunk(i).bytes, &bytes) || bytes > file_->pages_end())
      bad_input(where(), ": corrupt: its pages overlap or are truncated");
    index_row_group(i, first_row);
    first_row += groups[i].num_rows;
  }
}

const PageLocation* ColumnPages::dictionary(size_t row_group) const {
  const std::optional<PageLocation>& found = dictionaries_[row_group];
  return found ? &*found : nullptr;
}

std::string ColumnPages::where() const {
  return str(file_->name(), ", column ", leaf_.name());
}

std::string ColumnPages::where(const PageLocation& location) const {
  return str(where(), ", page at byte ", location.offset);
}

const ColumnChunk& ColumnPages::chunk(size_t row_group) const {
  return file_->metadata().row_groups[row_group].columns[leaf_.index];
}

// How long a header is shows only when it is read: from a few bytes first, then from more and more.
PageHeader ColumnPages::read_header(int64_t offset, int64_t end, size_t& header_bytes) const {
  for (int64_t window = 4096;; window *= 8) {
    const int64_t available = std::min(window, end - offset);
    try {
      return read_page_header(file_->read(offset, static_cast<size_t>(available)),
                              str(where(), ", page header at byte ", offset), header_bytes);
    } catch (const Error&) {
      if (available == end - offset) throw;
    }
  }
}

void ColumnPages::index_row_group(size_t number, int64_t first_row) {
  const int64_t rows = file_->metadata().row_groups[number].num_rows;
  const ColumnChunk& stored = chunk(number);
  const auto corrupt = [&](const auto&... what) { bad_input(where(), ": corrupt: ", what...); };
  if (stored.encrypted) bad_input(where(), ": encrypted; expected a plain column");
  if (stored.elsewhere) bad_input(where(), ": lies in another file; expected it in this one");
  if (stored.type != leaf_.type)
    corrupt(name_of(stored.type), " in the row groups, ", name_of(leaf_.type), " in the schema");
  if (stored.num_values != rows) corrupt(stored.num_values, " values in ", rows, " rows");
  check_codec(stored.codec, where());
  if (rows == 0) return;  // some writers then give no place
  const int64_t pages_end = file_->pages_end();
  if (stored.begin < kPagesBegin || stored.begin > pages_end - stored.bytes)
    corrupt(stored.bytes, " bytes at byte ", stored.begin, " of ", pages_end);

  int64_t seen = 0, at = stored.begin;
  const int64_t end = stored.begin + stored.bytes;
  while (at < end) {
    size_t header_bytes = 0;
    PageLocation page{read_header(at, end, header_bytes), number, 0, first_row + seen};
    page.offset = at + static_cast<int64_t>(header_bytes);
    if (page.header.stored_bytes > end - page.offset)
      corrupt("the page at byte ", at, " has ", page.header.stored_bytes, " bytes, only ", end - page.offset,
              " are there");
    at = page.offset + page.header.stored_bytes;
    if (page.header.type == PageType::kDictionary) {
      if (dictionaries_[number]) corrupt("two dictionaries in a row group");
      dictionaries_[number] = page;
    } else if (is_data(page.header) && page.header.num_values > 0) {
      seen += page.header.num_values;
      if (seen > rows) corrupt("pages with more values than the ", rows, " rows of their row group");
      data_pages_.push_back(page);
    }
  }
  if (seen != rows) corrupt(rows, " rows in a row group, but ", seen, " values in its pages");
}

// Definition levels count how many of the optional nodes on the path are there.
void ColumnPages::read_levels(std::string_view levels, const PageLocation& location, Page& page) const {
  const auto count = static_cast<size_t>(location.header.num_values);
  const auto full = static_cast<uint32_t>(leaf_.max_definition);
  const std::vector<uint32_t> values = decode_rle(levels, std::bit_width(full), count, where(location));
  page.present.resize(count);
  for (size_t i = 0; i < count; ++i) {
    if (values[i] > full) bad_input(where(location), ": corrupt: a definition level of ", values[i]);
    page.present[i] = values[i] == full;
    page.num_values += values[i] == full;
  }
}

// Levels (their length, 4 bytes, comes first; none where nothing is optional) and values are packed together.
Page ColumnPages::read_version_1(std::string_view stored, const PageLocation& location) const {
  const PageHeader& header = location.header;
  Page page;
  page.bytes = unpack(chunk(location.row_group).codec, stored, static_cast<size_t>(header.unpacked_bytes),
                      where(location));
  if (leaf_.max_definition == 0 || header.type == PageType::kDictionary) {
    page.num_values = static_cast<size_t>(header.num_values);
    return page;
  }
  if (!header.rle_levels) bad_input(where(location), ": its levels are in BIT_PACKED; expected RLE");
  constexpr size_t kLength = 4;
  const size_t room = page.bytes.size();
  const size_t length = room < kLength ? 0 : little_endian<uint32_t>(page.bytes.data());
  if (room < kLength || length > room - kLength)
    bad_input(where(location), ": corrupt: levels of ", length, " bytes in ", room);
  page.values_begin = kLength + length;
  read_levels(std::string_view(page.bytes).substr(kLength, length), location, page);
  return page;
}

// Levels lie before the values and are never packed; the header has their lengths.
Page ColumnPages::read_version_2(std::string_view stored, const PageLocation& location) const {
  const PageHeader& header = location.header;
  const int64_t level_bytes = int64_t{header.repetition_bytes} + header.definition_bytes;
  if (level_bytes > std::min(header.stored_bytes, header.unpacked_bytes))
    bad_input(where(location), ": corrupt: levels of ", level_bytes, " bytes in ", header.stored_bytes);
  const Codec codec = header.compressed ? chunk(location.row_group).codec : Codec::kUncompressed;
  Page page;
  page.bytes = unpack(codec, stored.substr(static_cast<size_t>(level_bytes)),
                      static_cast<size_t>(header.unpacked_bytes - level_bytes), where(location));
  page.num_values = leaf_.max_definition == 0 ? static_cast<size_t>(header.num_values) : 0;
  if (leaf_.max_definition > 0)
    read_levels(stored.substr(static_cast<size_t>(header.repetition_bytes),
                              static_cast<size_t>(header.definition_bytes)),
                location, page);
  return page;
}

Page ColumnPages::read(const PageLocation& location) const {
  const std::string stored = file_->read(location.offset, static_cast<size_t>(location.header.stored_bytes));
  if (const auto& crc = location.header.crc)
    if (*crc != crc32(0, reinterpret_cast<const Bytef*>(stored.data()), static_cast<uInt>(stored.size())))
      bad_input(where(location), ": corrupt (checksum)");
  return location.header.type == PageType::kDataV2 ? read_version_2(stored, location)
                                                   : read_version_1(stored, location);
}

std::vector<int64_t> ColumnPages::null_rows() const {
  std::vector<int64_t> rows;
  if (leaf_.max_definition == 0) return rows;
  for (const PageLocation& location : data_pages_) {
    if (chunk(location.row_group).null_count == 0 || location.header.nulls == 0) continue;
    const std::vector<bool> present = read(location).present;
    for (size_t i = 0; i < present.size(); ++i)
      if (!present[i]) rows.push_back(location.first_row + static_cast<int64_t>(i));
  }
  return rows;
}

bool uses_dictionary(const PageHeader& header) {
  return header.encoding == Encoding::kPlainDictionary || header.encoding == Encoding::kRleDictionary;
}

// A byte with the width of the numbers, then the numbers in RLE.
std::vector<uint32_t> dictionary_indices(const Page& page, size_t dictionary_size, const std::string& where) {
  if (page.num_values == 0) return {};
  const std::string_view values = page.values();
  const int width = values.empty() ? -1 : static_cast<uint8_t>(values[0]);
  if (width < 0 || width > 32) bad_input(where, ": corrupt: dictionary indices of ", width, " bits");
  std::vector<uint32_t> indices = decode_rle(values.substr(1), width, page.num_values, where);
  for (const uint32_t index : indices)
    if (index >= dictionary_size)
      bad_input(where, ": corrupt: value ", index, " of a dictionary of ", dictionary_size);
  return indices;
}

}  // namespace imago::parquet
