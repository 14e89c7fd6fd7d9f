#include "engine/data/parquet/metadata.h"

#include <array>
#include <cstdint>
#include <limits>
#include <span>

#include "engine/data/parquet/thrift.h"
#include "kernels/error.h"

namespace imago::parquet {
namespace {

template <class Enum>
std::string name_in(std::span<const char* const> names, Enum value) {
  const auto i = static_cast<size_t>(value);
  return i < names.size() ? names[i] : str("number ", static_cast<int>(value));
}

template <class Enum>
Enum read_enum(ThriftReader& reader) {
  return static_cast<Enum>(static_cast<int>(reader.integer()));
}

// A field that must be there and, as all of them count something, must not be negative.
template <class Int>
Int required(std::optional<int64_t> value, const char* field, const std::string& where) {
  if (!value) bad_input(where, ": corrupt: ", field, " is missing");
  if (*value < 0 || *value > int64_t{std::numeric_limits<Int>::max()})
    bad_input(where, ": corrupt: ", field, " is ", *value);
  return static_cast<Int>(*value);
}

SchemaElement read_schema_element(ThriftReader& reader, const std::string& where) {
  constexpr int64_t kUtf8 = 0;  // of ConvertedType
  SchemaElement element;
  std::optional<std::string> name;
  std::optional<int64_t> children;
  reader.structure([&](int id) {
    switch (id) {
      case 1: element.type = read_enum<Type>(reader); return true;
      case 3: element.repetition = read_enum<Repetition>(reader); return true;
      case 4: name = reader.binary(); return true;
      case 5: children = reader.integer(); return true;
      case 6: element.text |= reader.integer() == kUtf8; return true;
      case 10:  // LogicalType: one field, whose id says which type it is; 1 is STRING
        reader.structure([&](int logical) {
          element.text |= logical == 1;
          return false;
        });
        return true;
      default: return false;
    }
  });
  if (!name) bad_input(where, ": corrupt: a column has no name");
  element.name = *name;
  for (char& c : element.name)  // messages are one line
    if (static_cast<uint8_t>(c) < ' ' || c == '\x7f') c = '?';
  if (!element.type) element.num_children = required<int32_t>(children, "num_children", where);
  return element;
}

std::optional<int64_t> read_null_count(ThriftReader& reader) {
  std::optional<int64_t> count;
  reader.structure([&](int id) {
    if (id == 3) count = reader.integer();
    return id == 3;
  });
  return count;
}

void read_column_metadata(ThriftReader& reader, const std::string& where, ColumnChunk& chunk) {
  std::optional<int64_t> values, bytes, data, dictionary, type, codec;
  reader.structure([&](int id) {
    switch (id) {
      case 1: type = reader.integer(); return true;
      case 4: codec = reader.integer(); return true;
      case 5: values = reader.integer(); return true;
      case 7: bytes = reader.integer(); return true;
      case 9: data = reader.integer(); return true;
      case 11: dictionary = reader.integer(); return true;
      case 12: chunk.null_count = read_null_count(reader); return true;
      default: return false;
    }
  });
  chunk.type = static_cast<Type>(required<int32_t>(type, "a column chunk's type", where));
  chunk.codec = static_cast<Codec>(required<int32_t>(codec, "a column chunk's codec", where));
  chunk.num_values = required<int64_t>(values, "a column chunk's num_values", where);
  chunk.bytes = required<int64_t>(bytes, "a column chunk's total_compressed_size", where);
  chunk.begin = required<int64_t>(data, "a column chunk's data_page_offset", where);
  // Some writers say 0 where there is no dictionary.
  if (dictionary && *dictionary > 0 && *dictionary < chunk.begin) chunk.begin = *dictionary;
}

ColumnChunk read_column_chunk(ThriftReader& reader, const std::string& where) {
  ColumnChunk chunk;
  bool described = false;
  reader.structure([&](int id) {
    switch (id) {
      case 1: chunk.elsewhere = true; return false;
      case 3:
        described = true;
        read_column_metadata(reader, where, chunk);
        return true;
      case 8:
      case 9: chunk.encrypted = true; return false;
      default: return false;
    }
  });
  if (!described && !chunk.encrypted) bad_input(where, ": corrupt: a column chunk is not described");
  return chunk;
}

RowGroup read_row_group(ThriftReader& reader, const std::string& where) {
  RowGroup group;
  std::optional<int64_t> rows;
  reader.structure([&](int id) {
    switch (id) {
      case 1: reader.list([&] { group.columns.push_back(read_column_chunk(reader, where)); }); return true;
      case 3: rows = reader.integer(); return true;
      default: return false;
    }
  });
  group.num_rows = required<int64_t>(rows, "a row group's num_rows", where);
  return group;
}

void read_key_value(ThriftReader& reader, std::map<std::string, std::string>& key_values) {
  std::string_view key, value;
  reader.structure([&](int id) {
    switch (id) {
      case 1: key = reader.binary(); return true;
      case 2: value = reader.binary(); return true;
      default: return false;
    }
  });
  key_values.emplace(key, value);
}

// The struct within a page header that is about this type of page.
void read_typed_header(ThriftReader& reader, const std::string& where, PageHeader& header) {
  const bool v2 = header.type == PageType::kDataV2;
  std::optional<int64_t> values, encoding, nulls, definition, repetition;
  reader.structure([&](int id) {
    if (id == 1) {
      values = reader.integer();
    } else if (id == (v2 ? 4 : 2)) {
      encoding = reader.integer();
    } else if (header.type == PageType::kData && id == 3) {
      header.rle_levels = read_enum<Encoding>(reader) == Encoding::kRle;
    } else if (v2 && id == 2) {
      nulls = reader.integer();
    } else if (v2 && id == 5) {
      definition = reader.integer();
    } else if (v2 && id == 6) {
      repetition = reader.integer();
    } else if (v2 && id == 7) {
      header.compressed = reader.boolean();
    } else {
      return false;
    }
    return true;
  });
  header.num_values = required<int32_t>(values, "a page's num_values", where);
  header.encoding = static_cast<Encoding>(required<int32_t>(encoding, "a page's encoding", where));
  if (!v2) return;
  header.nulls = required<int32_t>(nulls, "a page's num_nulls", where);
  header.definition_bytes = required<int32_t>(definition, "definition_levels_byte_length", where);
  header.repetition_bytes = required<int32_t>(repetition, "repetition_levels_byte_length", where);
}

}  // namespace

std::string name_of(Type type) {
  static constexpr std::array kNames{"BOOLEAN", "INT32",  "INT64",      "INT96",
                                     "FLOAT",   "DOUBLE", "BYTE_ARRAY", "FIXED_LEN_BYTE_ARRAY"};
  return name_in(kNames, type);
}

std::string name_of(Encoding encoding) {
  static constexpr std::array kNames{
      "PLAIN",          "GROUP_VAR_INT",       "PLAIN_DICTIONARY",        "RLE",
      "BIT_PACKED",     "DELTA_BINARY_PACKED", "DELTA_LENGTH_BYTE_ARRAY", "DELTA_BYTE_ARRAY",
      "RLE_DICTIONARY", "BYTE_STREAM_SPLIT"};
  return name_in(kNames, encoding);
}

std::string name_of(Codec codec) {
  static constexpr std::array kNames{"UNCOMPRESSED", "SNAPPY", "GZIP", "LZO",
                                     "BROTLI",       "LZ4",    "ZSTD", "LZ4_RAW"};
  return name_in(kNames, codec);
}

FileMetadata read_file_metadata(std::string_view bytes, const std::string& where) {
  FileMetadata file;
  std::optional<int64_t> rows;
  ThriftReader reader(bytes, where);
  reader.structure([&](int id) {
    switch (id) {
      case 2: reader.list([&] { file.schema.push_back(read_schema_element(reader, where)); }); return true;
      case 3: rows = reader.integer(); return true;
      case 4: reader.list([&] { file.row_groups.push_back(read_row_group(reader, where)); }); return true;
      case 5: reader.list([&] { read_key_value(reader, file.key_values); }); return true;
      default: return false;
    }
  });
  file.num_rows = required<int64_t>(rows, "num_rows", where);
  return file;
}

PageHeader read_page_header(std::string_view bytes, const std::string& where, size_t& header_bytes) {
  PageHeader header;
  bool typed = false;
  std::optional<int64_t> type, unpacked, stored;
  const auto typed_header = [&](ThriftReader& reader, PageType of) {
    header.type = of;
    read_typed_header(reader, where, header);
    return typed = true;
  };
  ThriftReader reader(bytes, where);
  reader.structure([&](int id) {
    switch (id) {
      case 1: type = reader.integer(); return true;
      case 2: unpacked = reader.integer(); return true;
      case 3: stored = reader.integer(); return true;
      case 4: header.crc = static_cast<uint32_t>(reader.integer()); return true;
      case 5: return typed_header(reader, PageType::kData);
      case 7: return typed_header(reader, PageType::kDictionary);
      case 8: return typed_header(reader, PageType::kDataV2);
      default: return false;
    }
  });
  const int32_t stated = required<int32_t>(type, "a page's type", where);
  header.unpacked_bytes = required<int32_t>(unpacked, "a page's uncompressed_page_size", where);
  header.stored_bytes = required<int32_t>(stored, "a page's compressed_page_size", where);
  if (stated == static_cast<int32_t>(PageType::kIndex))
    header.type = PageType::kIndex;
  else if (!typed || stated != static_cast<int32_t>(header.type))
    bad_input(where, ": corrupt: a page is not described as what it is");
  header_bytes = reader.position();
  return header;
}

}  // namespace imago::parquet
