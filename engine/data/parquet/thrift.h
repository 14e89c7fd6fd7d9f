// The compact protocol of Apache Thrift, in which Parquet writes its metadata.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

namespace imago::parquet {

/// Types of fields and list elements, by their numbers in the protocol.
enum class ThriftType : uint8_t {
  kTrue = 1,  // a field's truth value lies in its type
  kFalse = 2,
  kByte = 3,
  kInt16 = 4,
  kInt32 = 5,
  kInt64 = 6,
  kDouble = 7,
  kBinary = 8,
  kList = 9,
  kSet = 10,
  kMap = 11,
  kStruct = 12
};

/// Reads one struct from the front of `bytes`, value by value:
///
///   ThriftReader reader(bytes, "a.parquet: footer");
///   reader.structure([&](int id) {
///     switch (id) {
///       case 1: count = reader.integer(); return true;
///       case 2: reader.list([&] { names.emplace_back(reader.binary()); }); return true;
///       default: return false;  // not wanted: it is skipped
///     }
///   });
///
/// Each call reads the value of the field, or of the list element, that is next. Bad input, beginning with
/// `where`: bytes that end too early, values of another type than asked for, unknown types, structs nested
/// more than 64 deep. Nothing is allocated on the word of a length.
/// Source: https://github.com/apache/thrift/blob/master/doc/specs/thrift-compact-protocol.md
class ThriftReader {
 public:
  ThriftReader(std::string_view bytes, std::string where) : bytes_(bytes), where_(std::move(where)) {}

  /// Calls read_field(id) for every field; it reads the value and returns true, or returns false.
  template <class ReadField>
  void structure(ReadField read_field) {
    expect(ThriftType::kStruct);
    enter();
    for (int id = 0; next_field(id);) {
      const ThriftType type = type_;
      if (!read_field(id)) skip(type);
    }
    --depth_;
  }

  /// Calls read_element() for every element, which must read it.
  template <class ReadElement>
  void list(ReadElement read_element) {
    expect(ThriftType::kList);
    ThriftType type;
    const size_t size = list_header(type);
    for (size_t i = 0; i < size; ++i) {
      type_ = type;
      read_element();
    }
  }

  /// An integer of any width.
  int64_t integer();
  /// A field (not a list element) that is true or false.
  bool boolean();
  /// Text or bytes; a view of the bytes being read.
  std::string_view binary();

  /// How many bytes have been read.
  size_t position() const { return at_; }

 private:
  [[noreturn]] void corrupt(const char* what) const;
  void expect(ThriftType type) const;
  void enter();
  uint8_t byte();
  uint64_t varint();
  int64_t zigzag();
  bool next_field(int& id);
  size_t list_header(ThriftType& type);
  void skip_bytes(size_t count);
  void skip(ThriftType type);

  std::string_view bytes_;
  std::string where_;
  size_t at_ = 0;
  int depth_ = 0;
  ThriftType type_ = ThriftType::kStruct;  // of the value that is next
};

}  // namespace imago::parquet
